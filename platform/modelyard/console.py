"""What every page of Modelyard's admin shares."""

import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache, wraps
from typing import Any
from urllib.parse import urlencode

import unfold.admin
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import register_converter
from django.urls.converters import StringConverter
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from unfold.decorators import display

from modelyard.problems import Problem

NEAR = 10  # pages at the beginning of a list, which are read as they are
FORM_SECONDS = 24 * 3600  # that a sent form is remembered
TONES = {"good": "my-good", "busy": "my-busy", "bad": "my-bad", "calm": "my-calm", "warn": "my-warn"}


class FarPages(Paginator):  # type: ignore[type-arg]
    """Pages of a list; a far one is found by its keys, which an index has: what is before isn't read."""

    joined: tuple[str, ...] = ()
    """Relations that the list fetches by a query of their own, but a page of known keys may join."""

    def page(self, number: int | str) -> "Page[Any]":
        """One page."""
        page = super().page(number)
        if page.number > NEAR:
            rows: Any = page.object_list
            keys = list(rows.select_related(None).prefetch_related(None).values_list("pk", flat=True))
            all_rows: Any = self.object_list
            found = all_rows.filter(pk__in=keys)
            page.object_list = found.prefetch_related(None).select_related(*self.joined) if self.joined else found
        return page


@lru_cache
def _checkbox(_language: str) -> str:
    return str(unfold.admin.checkbox.render(ACTION_CHECKBOX_NAME, "{}"))


class ModelAdmin(unfold.admin.ModelAdmin):
    """unfold's ModelAdmin without the request that it keeps on the shared instance: the site is served by threads."""

    compressed_fields = True
    paginator: Any = FarPages
    list_filter_sheet = False

    @property
    def request(self) -> HttpRequest:
        """Never there: unfold asks first whether it is."""
        raise AttributeError("request")

    @request.setter
    def request(self, _value: HttpRequest) -> None:
        """Not kept."""

    @display(description=unfold.admin.ModelAdmin.action_checkbox.short_description)  # type: ignore[untyped-decorator]
    def action_checkbox(self, obj: Model) -> SafeString:
        """As unfold's, of which the template of a widget is a part of every row."""
        return format_html(_checkbox(get_language() or "en"), obj.pk)


class SystemId(StringConverter):
    """A system ID in an address of the admin, as we write it or as Django's lists do, which quote the underscore."""

    regex = "[0-9a-zA-Z_]+"

    def to_python(self, value: str) -> str:
        """IDs have small letters only, so that a quoted underscore can't be mistaken."""
        return value.replace("_5F", "_")


register_converter(SystemId, "system_id")


def badge(text: str, tone: str) -> SafeString:
    """A status as a coloured word; `tone` is good, busy, bad, warn or calm."""
    return format_html('<span class="my-badge {}">{}</span>', TONES[tone], text)


def query(**values: str) -> str:
    """What follows the question mark of an address."""
    return urlencode(values)


def tags(names: Iterable[str]) -> SafeString:
    """Tags as small pills."""
    pills = SafeString("").join(format_html('<span class="my-tag">{}</span>', name) for name in names)
    return SafeString(pills) or SafeString("—")


def person(request: HttpRequest) -> User:
    """Who is logged in; 403 for nobody."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def may(request: HttpRequest, permission: str) -> bool:
    """Has this person the permission?"""
    return person(request).has_perm(permission)


def require(request: HttpRequest, permission: str) -> None:
    """403 for people without the permission."""
    if not may(request, permission):
        raise PermissionDenied


def form_id() -> str:
    """A number for a form that must act once, in its hidden field `form_id`."""
    return secrets.token_urlsafe(12)


def once(request: HttpRequest) -> bool:
    """True for the first sending of a form; a reload or a second click is told that it was done already."""
    number = request.POST.get("form_id", "")
    if number and not cache.add(f"form:{person(request).pk}:{number[:40]}", 1, FORM_SECONDS):
        messages.info(request, gettext("That was done already, and isn't shown again."))
        return False
    return True


def expiry(days: str) -> datetime | None:
    """The moment so many days from now, none for an empty text. A Problem for anything else."""
    if not days:
        return None
    if not days.isdecimal() or len(days) > 4 or not int(days):
        raise Problem("invalid_expiry", "That is no number of days.", "Choose 1 to 9999 days, or no end.", status=400)
    return timezone.now() + timedelta(days=int(days))


def attempt(request: HttpRequest, verb: Callable[[], Any], done: str) -> bool:
    """Do something a person asked for, and tell them how it went. True if it was done."""
    try:
        verb()
    except Problem as problem:
        messages.error(request, f"{problem.message} {problem.next_step}".strip())
        return False
    if done:
        messages.success(request, done)
    return True


def posted(page: str, *names: str) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """For a view that only does something. Logging in again leads to its address, with nothing left of what was sent:
    there, `page` is shown instead, which takes these parts of the address.
    """

    def around(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, *args, **kwargs)
            messages.info(request, gettext("Nothing was done: you had to log in first. Do it again from here."))
            return redirect(page, *(kwargs[name] for name in names))

        return guarded

    return around


def back(request: HttpRequest, default: str) -> HttpResponse:
    """To where the person came from on this site, else to `default`."""
    wanted = request.POST.get("next") or request.headers.get("Referer", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(wanted if safe else default)
