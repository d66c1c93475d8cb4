"""Addresses of the models' API."""

from rest_framework.routers import DefaultRouter

from apps.models.api import ModelViewSet

router = DefaultRouter()
router.include_root_view = False
router.register("models", ModelViewSet)

urlpatterns = router.urls
