"""The admin's own pages: home, runtimes, user tokens, users and groups."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.cache import never_cache
from knox.models import AuthToken
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from apps.deployments import runtimes
from modelyard import console
from modelyard.serving import base_url

admin.site.index_title = _("Home")
admin.site.unregister(User)
admin.site.unregister(Group)
if admin.site.is_registered(AuthToken):
    admin.site.unregister(AuthToken)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, console.ModelAdmin):  # type: ignore[type-arg]
    """People. What they may do comes from their groups."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_active", "is_staff", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser", "groups"]


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, console.ModelAdmin):
    """Roles: groups of permissions."""


def may_see_models(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, "models.view_model")


def may_see_deployments(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, "deployments.view_deployment")


def may_see_keys(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, "apikeys.view_apikey")


def may_see_users(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, "auth.view_user")


def may_see_groups(request: HttpRequest) -> bool:
    """For the sidebar."""
    return console.may(request, "auth.view_group")


def without_inline_colours(_request: HttpRequest) -> dict[str, Any]:
    """unfold would write its colours into every page as an inline style; theme.css has them."""
    return {"colors": None}


@method_decorator(never_cache, name="dispatch")
class SessionState(View):
    """Whether somebody is still logged in, for a page that has been open for long; and the token of its forms."""

    admin_site: AdminSite = None  # type: ignore[assignment]

    def get(self, request: HttpRequest) -> JsonResponse:
        """Only who is logged in gets here; the site's script knows a redirect to the log-in for what it is."""
        return JsonResponse({"csrf": get_token(request)})


class SitePage(View):
    """A page of the admin that belongs to no model; for people who are logged in."""

    admin_site: AdminSite = None  # type: ignore[assignment]
    title: Any = ""
    template = ""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Only for those who may enter the admin."""
        if not self.admin_site.has_permission(request):
            return redirect("admin:login")
        return super().dispatch(request, *args, **kwargs)

    def page(self, request: HttpRequest, **context: Any) -> HttpResponse:
        """The page with its context."""
        everything = {**self.admin_site.each_context(request), "title": self.title, **context}
        return TemplateResponse(request, self.template, everything)


class RuntimesPage(SitePage):
    """The installed runtimes, broken ones with their problem."""

    title = _("Runtimes")
    template = "modelyard/runtimes.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The table."""
        console.require(request, "deployments.view_deployment")
        return self.page(request, entries=[_described(entry) for entry in runtimes.registry().values()])


def _described(entry: runtimes.Entry) -> tuple[runtimes.Entry, list[tuple[str, Any]]]:
    options = entry.runtime.options.model_json_schema().get("properties", {}) if entry.runtime else {}
    return entry, list(options.items())


@method_decorator(never_cache, name="dispatch")
class TokensPage(SitePage):
    """A person's own API tokens: list, make (shown once), revoke."""

    title = _("My API tokens")
    template = "modelyard/tokens.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The list."""
        return self._list(request, None)

    def _list(self, request: HttpRequest, fresh: str | None) -> HttpResponse:
        rows = AuthToken.objects.filter(user=console.person(request)).order_by("-created")
        return self.page(request, tokens=rows, fresh=fresh, base=base_url(request), form_id=console.form_id())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make one, or revoke one."""
        person = console.person(request)
        revoked = request.POST.get("revoke")
        if revoked:
            AuthToken.objects.filter(user=person, digest=revoked).delete()
            console.attempt(request, lambda: None, gettext("The token opens nothing any more."))
        elif console.once(request):
            made: list[str] = []
            if console.attempt(request, lambda: made.append(_token(person, request.POST.get("days", ""))), ""):
                # Shown in the answer itself and kept nowhere.
                return self._list(request, made[0])
        return redirect("admin:tokens")


def _token(person: User, days: str) -> str:
    until = console.expiry(days)
    _instance, text = AuthToken.objects.create(user=person, expiry=until - timezone.now() if until else None)
    return str(text)
