"""The site's addresses. The gateway's (`/d/…`, `/v1/…`) never get here: asgi.py hands them over before Django."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from modelyard import health, searching
from modelyard.api.tokens import TokensView

# Swagger UI writes inline styles; its script is a file of its own, as ours are.
docs = csp_override({**settings.SECURE_CSP, "script-src": [CSP.SELF], "style-src": [CSP.SELF, CSP.UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(
        url_name="schema", permission_classes=[], template_name="modelyard/api_docs.html"
    )
)

handler400 = "modelyard.refusals.bad_request"
handler403 = "modelyard.refusals.forbidden"
handler404 = "modelyard.refusals.not_found"
handler500 = "modelyard.refusals.failed"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("favicon.ico", RedirectView.as_view(url="/static/modelyard/favicon.svg")),
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    path("admin/search/", admin.site.admin_view(searching.answer)),  # before the admin's own of this address
    path("admin/", admin.site.urls),
    path("language/", include("django.conf.urls.i18n")),
    path("api/v1/tokens/", TokensView.as_view(), name="tokens"),
    path("api/v1/", include("apps.models.urls")),
    path("api/v1/", include("apps.apikeys.urls")),
    path("api/v1/", include("apps.deployments.urls")),
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[]), name="schema"),
    path("api/docs/", docs, name="docs"),
]
