"""Django application of the site as a whole: its checks, templates and static files."""

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class ModelyardConfig(AppConfig):
    """The site: system checks and default groups."""

    name = "modelyard"

    def ready(self) -> None:
        """Make the Celery application the one that tasks belong to; register checks and what follows a migration."""
        from modelyard import celery, checks  # noqa: F401 (the imports are what counts)
        from modelyard.roles import create_groups

        # Sent once an app, in their order: after the last one all permissions are there.
        last = apps.get_app_config("deployments")
        post_migrate.connect(create_groups, sender=last, dispatch_uid="modelyard.groups")
