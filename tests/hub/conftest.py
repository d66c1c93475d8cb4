"""A hub with some repositories, and imports run as the worker would."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
import safetensors.numpy
from django.contrib.auth.models import User

from apps.models import pipeline
from apps.models.hub import fetching, operations
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Asked, look
from apps.models.models import Model
from tests.hub.server import Hub, Repo

Bring = Callable[..., Model]


def weights(size: int = 400_000, seed: int = 1) -> bytes:
    """A safetensors file of about that many bytes that doesn't compress."""
    values = numpy.random.default_rng(seed).standard_normal(size // 4).astype(numpy.float32)
    return bytes(safetensors.numpy.save({"w": values}))


def files(seed: int = 1, size: int = 400_000) -> dict[str, bytes]:
    config = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512}
    out = io.BytesIO()
    out.write(b"---\nlicense: apache-2.0\n---\n# Tiny\n")
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": weights(size, seed),
        "README.md": out.getvalue(),
        "pytorch_model.bin": b"\x80\x02" + bytes(3000),
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "onnx/model.onnx": bytes(2000),
        "picture.png": bytes(2000),
    }


@pytest.fixture
def hub(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.rmtree(Path(settings.MODELS_DIR) / ".content", ignore_errors=True)  # of other tests
    made = Hub()
    made.repos["acme/tiny"] = Repo(files(), card={"license": "apache-2.0"}, task="feature-extraction",
                                   config={"architectures": ["BertModel"]})  # fmt: skip
    made.repos["acme/gated"] = Repo(files(2), gated=True, members=("anna",))
    made.repos["acme/private"] = Repo(files(3), private=True, members=("anna",))
    settings.HUB_ENDPOINT = made.address
    settings.HUB_STALL_SECONDS = 2
    monkeypatch.setattr(fetching, "BACKOFF", (0.1,))
    yield made
    made.close()


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_superuser("anna")


@pytest.fixture
def good(person: User) -> Connection:
    return operations.connect("Anna's", "hf_good", by=person)


@pytest.fixture
def bring(hub: Hub, person: User) -> Bring:
    """Starts an import and runs it to its end."""

    def one(repository: str = "acme/tiny", *, run: bool = True, name: str = "", **asked: object) -> Model:
        model = operations.start(look(Asked(repository, **asked)), by=person, name=name)  # type: ignore[arg-type]
        if run:
            pipeline.run(model.pk)
            model.refresh_from_db()
        return model

    return one
