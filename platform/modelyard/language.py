"""The language of the site: what a person chose, else their browser's; and English for what is written down."""

from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.functional import Promise

Text = str | Promise

ENGLISH = ("/api/", "/healthz", "/readyz")
"""Read by programs, whose authors search for what it says."""


def english(text: Text) -> str:
    """A text of the interface as errors, events and logs have it, whoever asks: those are searched for as they are."""
    with translation.override("en"):
        return str(text)


class SiteLanguage(LocaleMiddleware):
    """People see their language, programs English."""

    def process_request(self, request: HttpRequest) -> None:
        """Choose it for this request."""
        if request.path_info.startswith(ENGLISH):
            translation.activate("en")
            request.LANGUAGE_CODE = "en"
        else:
            super().process_request(request)


def call(model: type[Model], one: Text, many: Text, /, **fields: Text) -> None:
    """Say how pages call a model and its fields. Not in the model: what is only shown needs no migration."""
    meta: Any = model._meta
    meta.verbose_name, meta.verbose_name_plural = one, many
    for name, shown in fields.items():
        field: Any = meta.get_field(name)
        field.verbose_name = shown
