"""Django application of the API keys: who may call a deployment."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from modelyard.language import call


class ApiKeysConfig(AppConfig):
    """Keys of deployments."""

    name = "apps.apikeys"
    verbose_name = _("Access")

    def ready(self) -> None:
        """What its pages call what they list."""
        call(self.get_model("ApiKey"), _("API key"), _("API keys"), deployment=_("deployment"), name=_("name"))
