"""Django application of the API keys: who may call a deployment."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ApiKeysConfig(AppConfig):
    """Keys of deployments."""

    name = "apps.apikeys"
    verbose_name = _("Access")

    def ready(self) -> None:
        """What its pages call what they list."""
        # Not in `Meta`: what is only shown needs no migration.
        shown = self.get_model("ApiKey")._meta
        shown.verbose_name, shown.verbose_name_plural = _("API key"), _("API keys")
