"""Django application of the API keys: who may call a deployment."""

from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    """Keys of deployments."""

    name = "apps.apikeys"
    verbose_name = "Access"
