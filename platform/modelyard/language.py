"""The language of the site: what a person chose, else their browser's."""

from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

ENGLISH = ("/api/", "/healthz", "/readyz")
"""Read by programs, whose authors search for what it says."""


class SiteLanguage(LocaleMiddleware):
    """People see their language, programs English."""

    def process_request(self, request: HttpRequest) -> None:
        """Choose it for this request."""
        if request.path_info.startswith(ENGLISH):
            translation.activate("en")
            request.LANGUAGE_CODE = "en"
        else:
            super().process_request(request)
