"""The catalogue's figures beside those of the hub."""

import pytest

from apps.models.catalogue.comparing import differences
from apps.models.catalogue.schema import Entry
from tests.hub.conftest import files
from tests.hub.server import Hub, Repo

pytestmark = pytest.mark.django_db
PAGE = "https://huggingface.co/acme/tiny"


def entry(**more: object) -> Entry:
    said = {"id": "tiny", "name": "Tiny", "summary": "x", "task": "embeddings", "repository": "acme/tiny",
            "licence": {"value": "apache-2.0", "source": PAGE}}  # fmt: skip
    return Entry.model_validate({**said, **more})


def what(one: Entry) -> list[str]:
    return [each.what for each in differences(one)]


def test_what_is_so_is_no_difference(hub: Hub) -> None:
    commit = {"value": hub.repos["acme/tiny"].commit, "source": PAGE}
    assert what(entry(revision=commit, files=["*.json", "*.safetensors"])) == []


def test_what_differs_is_told(hub: Hub) -> None:
    assert what(entry(licence={"value": "mit", "source": PAGE})) == ["licence"]
    assert what(entry(gated={"value": True, "source": PAGE})) == ["gated"]
    assert what(entry(revision={"value": "0" * 40, "source": PAGE})) == ["repository"]
    assert what(entry(repository="acme/none")) == ["repository"]
    assert what(entry(files=["*.gguf"])) == ["files"]


def test_a_gated_one_that_is_said_to_be_gated_is_so(hub: Hub) -> None:
    hub.repos["acme/tiny"] = Repo(files(), gated=True)
    assert what(entry(gated={"value": True, "source": PAGE})) == []
    assert what(entry()) == ["repository"]
