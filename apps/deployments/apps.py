"""Django application of the deployments: what is being served."""

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    """Deployments, their versions, replicas and events."""

    name = "apps.deployments"
    verbose_name = "Serving"

    def ready(self) -> None:
        """Answer what the import asks: which runtimes could serve a model that isn't here yet."""
        from apps.deployments import prospects
        from apps.models.hub import serving

        serving.answered_by(prospects.answers)
