"""What every page of Modelyard's admin shares."""

import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import unfold.admin
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import register_converter
from django.urls.converters import StringConverter
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from modelyard.problems import Problem

FORM_SECONDS = 24 * 3600  # that a sent form is remembered
TONES = {"good": "my-good", "busy": "my-busy", "bad": "my-bad", "calm": "my-calm", "warn": "my-warn"}


class ModelAdmin(unfold.admin.ModelAdmin):
    """unfold's ModelAdmin without the request that it keeps on the shared instance: the site is served by threads."""

    compressed_fields = True
    list_filter_sheet = False

    @property
    def request(self) -> HttpRequest:
        """Never there: unfold asks first whether it is."""
        raise AttributeError("request")

    @request.setter
    def request(self, _value: HttpRequest) -> None:
        """Not kept."""


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


def back(request: HttpRequest, default: str) -> HttpResponse:
    """To where the person came from on this site, else to `default`."""
    wanted = request.POST.get("next") or request.headers.get("Referer", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(wanted if safe else default)
