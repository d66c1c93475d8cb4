"""Django application of the deployments: what is being served."""

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    """Deployments, their versions, replicas and events."""

    name = "apps.deployments"
    verbose_name = "Serving"
