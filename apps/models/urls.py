"""Addresses of the models' API."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from apps.models.api import ModelViewSet
from apps.models.catalogue.api import CatalogueViewSet, SchemaView
from apps.models.hub.api import ConnectionViewSet, HubImportView, PreflightView
from apps.models.uploads.api import UploadViewSet

router = DefaultRouter()
router.include_root_view = False
router.register("models", ModelViewSet)
router.register("catalogue", CatalogueViewSet, basename="catalogue")
router.register("connections", ConnectionViewSet)
router.register("uploads", UploadViewSet)

urlpatterns = [
    path("schemas/<slug:name>.json", SchemaView.as_view(), name="published-schema"),
    path("hub/preflight/", PreflightView.as_view(), name="hub-preflight"),
    path("hub/import/", HubImportView.as_view(), name="hub-import"),
    *router.urls,
]
