"""Django application of the deployments: what is being served."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeploymentsConfig(AppConfig):
    """Deployments, their versions, replicas and events."""

    name = "apps.deployments"
    verbose_name = _("Serving")

    def ready(self) -> None:
        """Answer what the import asks: which runtimes could serve a model that isn't here yet."""
        # Not in `Meta`: what is only shown needs no migration.
        shown = self.get_model("Deployment")._meta
        shown.verbose_name, shown.verbose_name_plural = _("deployment"), _("deployments")
        from apps.deployments import prospects
        from apps.models.hub import serving

        serving.answered_by(prospects.answers)
