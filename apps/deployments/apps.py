"""Django application of the deployments: what is being served."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from modelyard.language import call


class DeploymentsConfig(AppConfig):
    """Deployments, their versions, replicas and events."""

    name = "apps.deployments"
    verbose_name = _("Serving")

    def ready(self) -> None:
        """Answer what the import asks: which runtimes could serve a model that isn't here yet."""
        call(
            self.get_model("Deployment"), _("deployment"), _("deployments"), name=_("name"), model=_("model"),
            status=_("status"), runtime=_("runtime"), tags=_("tags"), added_by=_("added by"), added_at=_("added on"),
        )  # fmt: skip
        from apps.deployments import prospects
        from apps.models.hub import serving

        serving.answered_by(prospects.answers)
