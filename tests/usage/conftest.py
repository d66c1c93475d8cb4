"""Rows of the ledger as the gateway makes them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.deployments.usage import ledger
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus

USUAL: dict[str, Any] = {
    "at": 1_764_000_000.25, "request_id": "req-1", "account": "acc1", "key_id": "acc1", "key_name": "app",
    "user_name": "", "deployment_id": "dep_1", "deployment_name": "search", "version": 1, "model_id": "mdl_1",
    "model_name": "tiny", "path": "/v1/chat/completions", "status": 200, "error": "", "streamed": False,
    "prompt_tokens": 10, "completion_tokens": 5, "estimated": False, "first_byte_ms": 2.5, "duration_ms": 7.5,
    "bytes_in": 100, "bytes_out": 1000, "client": "10.0.0.1",
}  # fmt: skip


def row(at: float | datetime = USUAL["at"], **fields: Any) -> ledger.Row:
    """One call: the usual one, but for these fields."""
    values = USUAL | fields | {"at": at.timestamp() if isinstance(at, datetime) else at}
    return tuple(values[name] for name in ledger.COLUMNS)


def write(*rows: ledger.Row) -> None:
    """Write these rows as a batch of their own."""
    assert ledger.write(uuid.uuid4().hex, rows)


def wrote(rows: Sequence[ledger.Row]) -> None:
    """Write many."""
    write(*rows)


@pytest.fixture
def deployment(db: None) -> Deployment:
    model = Model.objects.create(name="tiny", status=ModelStatus.READY, format=Format.ONNX)
    return operations.create(model=model, name="search", runtime="echo", by=None)
