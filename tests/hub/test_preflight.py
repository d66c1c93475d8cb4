"""What is said of a repository before anything of it is downloaded."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from apps.models import blobs
from apps.models.hub import vault
from apps.models.hub.models import Connection
from apps.models.hub.preflight import Asked, look
from modelyard.problems import Problem
from tests.hub.conftest import Bring, files
from tests.hub.server import Hub, Repo

pytestmark = pytest.mark.django_db


def refused(*args: object, **asked: object) -> Problem:
    with pytest.raises(Problem) as caught:
        look(Asked(*args, **asked))  # type: ignore[arg-type]
    assert caught.value.next_step
    return caught.value


def test_what_a_download_would_bring_is_known_before_it(hub: Hub) -> None:
    found = look(Asked("acme/tiny"))
    assert found.commit == hub.repos["acme/tiny"].commit
    assert sorted(file.path for file in found.taken) == ["README.md", "config.json", "model.safetensors"]
    assert found.total == sum(len(files()[file.path]) for file in found.taken)
    assert (found.licence, found.task, found.architecture) == ("apache-2.0", "feature-extraction", "BertModel")
    assert [variant.key for variant in found.variants] == ["safetensors", "onnx/model.onnx"]
    assert found.blocks == ()
    assert not hub.asked("disks")  # nothing large was fetched


def test_a_pasted_address_is_understood(hub: Hub) -> None:
    assert look(Asked(f"{hub.address}/acme/tiny")).repository == "acme/tiny"
    assert look(Asked("https://huggingface.co/acme/tiny/tree/main")).repository == "acme/tiny"


def test_patterns_choose_instead(hub: Hub) -> None:
    found = look(Asked("acme/tiny", patterns=("onnx/*", "*.json")))
    assert sorted(file.path for file in found.taken) == ["config.json", "onnx/model.onnx"]
    assert look(Asked("acme/tiny", patterns=("nothing*",))).blocks[0].code == "hub_nothing"
    assert look(Asked("acme/tiny", patterns=("*.json",))).blocks[0].code == "hub_no_weights"


def test_an_older_commit_can_be_had(hub: Hub) -> None:
    old = hub.repos["acme/tiny"].commit
    hub.repos["acme/tiny"].update(files(9))
    assert look(Asked("acme/tiny", old)).commit == old
    assert look(Asked("acme/tiny")).commit == hub.repos["acme/tiny"].commit != old


@pytest.mark.parametrize("name", ["", "a/b/c", "acme/../etc", "acme tiny", "x" * 300, "acme/--x--", "é/x"])
def test_what_is_no_name_is_told_without_asking_anybody(hub: Hub, name: str) -> None:
    assert refused(name).code == "hub_invalid"
    assert not hub.seen


def test_what_may_be_wrong_is_told_apart(hub: Hub, good: Connection) -> None:
    other = Connection(name="Otto's", token=vault.seal("hf_other"))
    wrong = Connection(name="Old", token=vault.seal("hf_expired"))
    assert refused("acme/none").code == "hub_not_found"
    assert refused("acme/none", connection=good).code == "hub_not_found"
    assert refused("acme/private").code == "hub_not_found"
    assert refused("acme/private", connection=other).code == "hub_not_found"
    assert look(Asked("acme/private", connection=good)).private
    assert refused("acme/tiny", "v9").code == "hub_no_revision"
    assert refused("acme/tiny", connection=wrong).code == "hub_token"
    assert refused("acme/tiny", variant="gguf").code == "hub_no_variant"
    gated, member = refused("acme/gated"), look(Asked("acme/gated", connection=good))
    assert (gated.code, f"{hub.address}/acme/gated" in gated.next_step, member.gated) == ("hub_gated", True, True)
    denied = refused("acme/gated", connection=other)
    assert (denied.code, "account" in denied.message) == ("hub_gated", True)


@pytest.mark.parametrize(
    ("status", "code", "word"), [(429, "hub_busy", "7 s"), (500, "hub_error", "500"), (503, "hub_error", "503")]
)
def test_troubles_of_the_hub_are_told_apart(hub: Hub, status: int, code: str, word: str) -> None:
    hub.troubles.statuses, hub.troubles.retry_after = [status] * 9, "7"
    problem = refused("acme/tiny")
    assert (problem.code, word in str(problem)) == (code, True)


def test_what_is_forbidden_without_a_connection_does_not_name_one(hub: Hub, good: Connection) -> None:
    hub.troubles.statuses = [403]
    alone = refused("acme/tiny")
    hub.troubles.statuses = [403]
    known = refused("acme/tiny", connection=good)
    assert (alone.code, known.code) == ("hub_forbidden", "hub_forbidden")
    assert "without a connection" in alone.message
    assert "The connection may not read" in known.message


def test_no_network_is_told(hub: Hub, settings) -> None:
    settings.HUB_ENDPOINT = "http://127.0.0.1:9"
    problem = refused("acme/tiny")
    assert (problem.code, "HTTPS_PROXY" in problem.next_step) == ("hub_unreachable", True)


def test_what_is_no_hub_is_told(hub: Hub, settings) -> None:
    settings.HUB_ENDPOINT = hub.second
    assert refused("acme/tiny").code in {"hub_forbidden", "hub_error", "hub_not_found"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"pytorch_model.bin": bytes(2000)}, "hub_no_weights"),
        ({"../evil.safetensors": bytes(2000)}, "hub_names"),
        ({"a.gguf": bytes(2000), "a/" * 32 + "config.json": b"{}"}, "hub_names"),
        ({"a.gguf": bytes(2000), f"{'é' * 130}.json": b"{}"}, "hub_names"),
        ({"a.gguf": bytes(2000), "Config.json": b"{}", "config.json": b"{}"}, "hub_names"),
    ],
)
def test_what_has_no_sense_to_begin_is_blocked(hub: Hub, content: dict[str, bytes], code: str) -> None:
    hub.repos["acme/odd"] = Repo(content)
    patterns = ("*",) if "../evil.safetensors" in content else ()
    blocked = look(Asked("acme/odd", patterns=patterns)).blocks[0]
    assert (blocked.code, bool(blocked.next_step)) == (code, True)


def test_a_file_that_the_hub_gives_by_parts_only_is_told_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 100_000)
    blocked = look(Asked("acme/tiny")).blocks[0]
    assert (blocked.code, "model.safetensors has" in blocked.message) == ("hub_file_size", True)


def test_no_room_is_told_before(hub: Hub, settings) -> None:
    settings.MAX_UNPACKED_BYTES = 1000
    assert look(Asked("acme/tiny")).blocks[0].code == "too_large"


@pytest.mark.django_db(transaction=True)
def test_what_is_stored_already_needs_no_room(hub: Hub, bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(Asked("acme/tiny"))
    bring()
    again = look(Asked("acme/tiny"))
    assert again.total == found.total
    assert again.needed < found.needed - 400_000  # the weights; small files have no SHA-256 at the hub
    usage = shutil.disk_usage("/")._replace(free=(found.needed + again.needed) // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    hub.repos["acme/tiny"].update({**files(), "README.md": b"only the card has changed"})
    assert look(Asked("acme/tiny")).blocks == ()
    assert bring(name="again").status == "ready"
    hub.repos["acme/tiny"].update(files(9))
    assert look(Asked("acme/tiny")).blocks[0].code == "disk"


@pytest.mark.parametrize("sha256", ["", "../../secret_key", "/etc/hostname", "0" * 63 + "/", "a" * 65])
def test_what_is_no_hash_names_nothing_of_ours(tmp_path: Path, sha256: str) -> None:
    for name in ("secret_key", "other"):
        (tmp_path / name).write_bytes(b"x")
    assert not blobs.has(sha256, 1)
    assert not blobs.take(sha256, 1, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_one_quantization_of_many_is_taken(hub: Hub) -> None:
    names = ["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-BF16-00001-of-00002.gguf", "m-BF16-00002-of-00002.gguf"]
    hub.repos["acme/gguf"] = Repo({**dict.fromkeys(names, bytes(2000)), "mmproj-f16.gguf": bytes(9), "README.md": b"x"})
    found = look(Asked("acme/gguf"))
    assert sorted(file.path for file in found.taken) == ["README.md", "m-Q4_K_M.gguf"]
    whole = next(each for each in found.variants if "BF16" in each.label)
    assert list(whole.weights) == names[3:]
    chosen = look(Asked("acme/gguf", variant=whole.key))
    assert [file.path for file in chosen.taken if file.path.endswith(".gguf")] == names[3:]


def test_shards_come_with_their_index_and_without_a_second_copy(hub: Hub) -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    content = {**dict.fromkeys(shards, bytes(2000)), "model.safetensors.index.json": b"{}",
               "consolidated.safetensors": b"x",
               "original/params.json": b"{}", "1_Pooling/config.json": b"{}", "chat_template.jinja": b"x"}  # fmt: skip
    hub.repos["acme/big"] = Repo(content)
    taken = sorted(file.path for file in look(Asked("acme/big")).taken)
    assert taken == ["1_Pooling/config.json", "chat_template.jinja", *shards, "model.safetensors.index.json"]


@pytest.mark.parametrize("shards", [
    ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    ("model-00001-of-000163.safetensors", "model-00002-of-000163.safetensors"),
    ("model-1-of-61.safetensors", "model-2-of-61.safetensors"),
])  # fmt: skip
def test_what_the_index_names_beside_the_shards_comes_too(hub: Hub, shards: tuple[str, str]) -> None:
    beside = ["model.safetensors.index.json", "model_extra_tensors.safetensors", "mtp.safetensors"]
    names = [*shards, *beside, "model.safetensors"]
    hub.repos["acme/shards"] = Repo(dict.fromkeys(names, bytes(2000)))
    taken = sorted(file.path for file in look(Asked("acme/shards")).taken)
    assert taken == sorted([*shards, *beside])


def test_tokens_that_lie_about_are_not_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert refused("acme/private").code == "hub_not_found"
    assert not any("authorization" in each.headers for each in hub.seen)


@pytest.mark.parametrize("other", ["MODEL.safetensors", "caf\u00e9.txt"])
def test_names_that_are_one_on_other_disks_are_blocked(hub: Hub, other: str) -> None:
    hub.repos["acme/twice"] = Repo({**files(), "cafe\u0301.txt": b"a", other: b"b"})
    found = look(Asked("acme/twice", patterns=("*",)))
    assert "hub_names" in {block.code for block in found.blocks}
    assert any("one name" in str(block) for block in found.blocks)
