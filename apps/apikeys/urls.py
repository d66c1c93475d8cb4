"""Addresses of the API keys' API."""

from django.urls import path

from apps.apikeys.api import ApiKeyViewSet

KEYS = "deployments/<slug:deployment_id>/keys/"
KEY = f"{KEYS}<slug:pk>/"

urlpatterns = [
    path(KEYS, ApiKeyViewSet.as_view({"get": "list", "post": "create"}), name="keys"),
    path(KEY, ApiKeyViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}), name="key"),
    path(f"{KEY}rotate/", ApiKeyViewSet.as_view({"post": "rotate"}), name="key-rotate"),
    path(f"{KEY}events/", ApiKeyViewSet.as_view({"get": "events"}, filter_backends=[]), name="key-events"),
]
