"""What the site answers where a page can't be shown: a page that says what to do, a problem body for the API."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from modelyard.problems import Problem, body_of


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (Django's name)
    """400: Django could not take the request."""
    problem = Problem("bad_request", _("The request can't be read."), _("Go back, and send it again."), status=400)
    return _answer(request, problem)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (Django's name)
    """403: a person may not see or do this."""
    name = request.user.get_username() if hasattr(request, "user") else ""
    step = _("Ask an administrator for the permission, or log in as somebody who has it.")
    said = _("%(name)s may not see or do this.") % {"name": name} if name else _("You may not see or do this.")
    return _answer(request, Problem("permission_denied", said, step, status=403))


def no_csrf(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 (Django's name)
    """403: a form was sent with no token, or with one from before a log-in."""
    said = _("This form was too old to be taken: nothing was done.")
    step = _(
        "Go back, load the page again and send the form once more. If it happens again, allow cookies for this site, "
        "and ask an administrator whether MODELYARD_PUBLIC_URL and MODELYARD_TRUSTED_ORIGINS name this address."
    )
    return _answer(request, Problem("csrf_failed", said, step, status=403))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 (Django's name)
    """404: there is nothing at this address."""
    step = _("It may have been deleted since, or the address has a slip: look for it in the lists.")
    return _answer(request, Problem("not_found", _("There is nothing at this address."), step, status=404))


def failed(request: HttpRequest) -> HttpResponse:
    """500: our own fault. It asks the database for nothing, which may be what fails."""
    step = _("Try again in a moment. If it happens again, the web process's log has the cause, at the time it is now.")
    return _answer(request, Problem("internal_error", _("Something went wrong in Modelyard."), step, status=500))


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse(body_of(problem), status=problem.status, content_type="application/problem+json")
    text = render_to_string("modelyard/refusal.html", {"problem": problem, "home": reverse("admin:index")})
    return HttpResponse(text, status=problem.status)
