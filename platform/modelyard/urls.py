"""The site's addresses. The gateway's (`/d/…`, `/v1/…`) never get here: asgi.py hands them over before Django."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from modelyard import health
from modelyard.api.tokens import TokensView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("favicon.ico", RedirectView.as_view(url="/static/modelyard/favicon.svg")),
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    path("admin/", admin.site.urls),
    path("api/v1/tokens/", TokensView.as_view(), name="tokens"),
    path("api/v1/", include("apps.models.urls")),
    path("api/v1/", include("apps.apikeys.urls")),
    path("api/v1/", include("apps.deployments.urls")),
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[]), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema", permission_classes=[]), name="docs"),
]
