"""Django application of the site as a whole: its checks, templates and static files."""

from django.apps import AppConfig


class ModelyardConfig(AppConfig):
    """The site: system checks and default groups."""

    name = "modelyard"
