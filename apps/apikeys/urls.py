"""Addresses of the API keys' API."""

from django.urls import path

from apps.apikeys.api import ApiKeyViewSet

KEYS = "deployments/<slug:deployment_id>/keys/"

urlpatterns = [
    path(KEYS, ApiKeyViewSet.as_view({"get": "list", "post": "create"}), name="keys"),
    path(f"{KEYS}<slug:pk>/", ApiKeyViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="key"),
]
