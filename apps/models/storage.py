"""Where the files of models are: one folder each under the data directory."""

from pathlib import Path

from django.conf import settings


def folder(model_id: str) -> Path:
    """The folder of a model's files."""
    return Path(settings.MODELS_DIR) / model_id
