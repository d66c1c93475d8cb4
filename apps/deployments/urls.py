"""Addresses of the deployments' API."""

from django.urls import include, path
from rest_framework.routers import DefaultRouter

from apps.deployments.api import DeploymentViewSet, FitView, RuntimesView
from apps.deployments.export_pages import ExportView
from apps.deployments.invocation import invoke
from apps.deployments.usage.api import CaptureViewSet, UsageRecordViewSet, UsageSummaryView

router = DefaultRouter()
router.include_root_view = False
router.register("deployments", DeploymentViewSet)
router.register("usage/records", UsageRecordViewSet)
router.register("usage/captures", CaptureViewSet)

urlpatterns = [
    path("runtimes/", RuntimesView.as_view(), name="runtimes"),
    path("models/<slug:model_id>/runtimes/", FitView.as_view(), name="model-runtimes"),
    path("models/<slug:model_id>/export/", ExportView.as_view(), name="model-export"),
    path("usage/summary/", UsageSummaryView.as_view(), name="usage-summary"),
    path("deployments/<slug:deployment_id>/invoke/<path:path>", invoke, name="invoke"),
    path("", include(router.urls)),
]
