"""Django application of the models: what can be served."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from modelyard.language import call


class ModelsConfig(AppConfig):
    """Models, their files and the reports of their imports."""

    name = "apps.models"
    verbose_name = _("Library")

    def ready(self) -> None:
        """What its pages call what they list."""
        call(
            self.get_model("Model"), _("model"), _("models"), source=_("source"), status=_("status"), kind=_("kind"),
            format=_("format"), task=_("task"), name=_("name"), size=_("size"), tags=_("tags"), licence=_("licence"),
            added_by=_("added by"), added_at=_("added on"), architecture=_("architecture"),
        )  # fmt: skip
