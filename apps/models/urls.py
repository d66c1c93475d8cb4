"""Addresses of the models' API."""

from django.urls import path
from rest_framework.routers import DefaultRouter

from apps.models.api import ModelViewSet
from apps.models.catalogue.api import CatalogueViewSet, SchemaView

router = DefaultRouter()
router.include_root_view = False
router.register("models", ModelViewSet)
router.register("catalogue", CatalogueViewSet, basename="catalogue")

urlpatterns = [path("schemas/<slug:name>.json", SchemaView.as_view(), name="published-schema"), *router.urls]
