"""Addresses of the deployments' API."""

from django.urls import include, path
from rest_framework.routers import DefaultRouter

from apps.deployments.api import DeploymentViewSet, FitView, RuntimesView

router = DefaultRouter()
router.include_root_view = False
router.register("deployments", DeploymentViewSet)

urlpatterns = [
    path("runtimes/", RuntimesView.as_view(), name="runtimes"),
    path("models/<slug:model_id>/runtimes/", FitView.as_view(), name="model-runtimes"),
    path("", include(router.urls)),
]
