"""Django application of the models: what can be served."""

from django.apps import AppConfig


class ModelsConfig(AppConfig):
    """Models, their files and the reports of their imports."""

    name = "apps.models"
    verbose_name = "Library"
