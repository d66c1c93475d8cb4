"""What workers do for models."""

import contextlib

from celery import shared_task
from django.core.cache import cache
from redis.exceptions import RedisError

from apps.models import operations, pipeline
from apps.models.uploads import operations as uploads


@shared_task
def import_model(model_id: str) -> None:
    """Unpack, validate and register one model."""
    with contextlib.suppress(RedisError):
        cache.delete(operations.asked_key(model_id))
    pipeline.run(model_id)


@shared_task
def sweep() -> None:
    """Take up interrupted imports again, and remove what nobody knows."""
    uploads.sweep()
    for model_id in pipeline.sweep():
        operations.enqueue(model_id, again=True)
