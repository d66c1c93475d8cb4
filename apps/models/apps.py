"""Django application of the models: what can be served."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ModelsConfig(AppConfig):
    """Models, their files and the reports of their imports."""

    name = "apps.models"
    verbose_name = _("Library")

    def ready(self) -> None:
        """What its pages call what they list."""
        # Not in `Meta`: what is only shown needs no migration.
        shown = self.get_model("Model")._meta
        shown.verbose_name, shown.verbose_name_plural = _("model"), _("models")
