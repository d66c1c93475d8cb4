"""What there is to see: the demo's models in use, some that failed, and what is only begun."""

import os
import zipfile
from pathlib import Path
from typing import Any

import httpx
import onnx
from playwright.sync_api import Page

from tests.cli.conftest import run
from tests.hub.server import Hub, Repo
from tests.models.conftest import good, onnx_bytes
from tests.models.test_adapters import adapter_files, base_files

CHAT, EMBEDDINGS = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-int8"
BROKEN, STOPPED, REFUSED = "invoice-classifier", "night-batch", "sentiment-old"
REPOSITORY = "acme/support-replies"
QUESTIONS = (
    "What is a gateway?", "Write a haiku about the sea.", "Name three uses of embeddings.", "Translate 'good morning'.",
    "What is the capital of Norway?", "Explain a cache to a child.", "Why is the sky blue?", "Count to five.",
)  # fmt: skip
PEOPLE = """
from django.contrib.auth.models import User
from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment
from apps.models import operations as models
from apps.models.models import Model
from pathlib import Path
import json, time

person = User.objects.get(is_superuser=True)

def settled(row, working):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        row.refresh_from_db()
        if row.status not in working:
            return row
        time.sleep(0.2)
    raise SystemExit(f"{row.name} is still {row.status}")

def imported(path, **more):
    name = models.name_of(path.rsplit("/", 1)[1])
    return settled(models.import_file(Path(path), name, by=person, **more), {"importing", "validating", "downloading"})

def deployed(model, name, **more):
    made = operations.create(model=model, name=name, by=person, **more)
    operations.deploy(made, by=person)
    return settled(made, {"deploying", "optimizing"})
"""
SCENE = """
place = %(place)r
broken = imported(f"{place}/%(broken)s.zip", tags=["finance"], description="Which cost centre an invoice belongs to.")
deployed(broken, "%(broken)s", runtime="onnx", tags=["finance"])
imported(f"{place}/%(refused)s.zip", tags=["archive"])
imported(f"{place}/Llama.zip", tags=["base"])
imported(f"{place}/polite-replies.zip", tags=["support"], base_model=Model.objects.get(name="Llama"))
minilm = Model.objects.get(name="%(embeddings)s")
stopped = deployed(minilm, "%(stopped)s", runtime="onnx", tags=["batch"], description="Embeddings of the day's mails.")
operations.undeploy(stopped, by=person)
operations.create(model=minilm, name="search-staging", by=person, runtime="onnx", tags=["search"])
found = {}
for deployment in Deployment.objects.filter(name__in=["%(chat)s", "%(embeddings)s"]):
    key, text = apikeys.create(deployment=deployment, name="support bot", by=person, requests_per_minute=600,
                               notes="The helpdesk's chat.")
    small, small_text = apikeys.create(deployment=deployment, name="trial", by=person, requests_per_minute=3)
    gone, _ = apikeys.create(deployment=deployment, name="laptop of June", by=person)
    apikeys.revoke(gone, by=person)
    found[deployment.name] = [deployment.pk, text, small_text]
for row in Deployment.objects.filter(name__in=["%(broken)s", "%(stopped)s", "search-staging"]):
    found[row.name] = [row.pk]
for row in Model.objects.all():
    found["model " + row.name] = [row.pk]
print("SCENE " + json.dumps(found))
"""
Found = dict[str, list[str]]


def catalogue_hub() -> Hub:
    """A hub with one repository that is worth a look; the hub itself isn't reachable from everywhere."""
    hub = Hub()
    hub.repos[REPOSITORY] = Repo(base_files(), card={"license": "apache-2.0"}, task="text-generation")
    hub.repos["acme/gated"] = Repo(good(), gated=True, members=("anna",))
    return hub


def archives(place: Path) -> None:
    """The zips of models that go wrong, and of an adapter with its base."""
    future = onnx.load_from_string(onnx_bytes())
    future.opset_import[0].version = 99  # a graph of tomorrow: the importer can read it, today's engine can't run it
    contents = {
        BROKEN: {**good(), "model.onnx": future.SerializeToString()},
        REFUSED: {"pytorch_model.bin": b"\x80\x02cposix\nsystem\n", "config.json": b"{}"},
        "Llama": base_files(),
        "polite-replies": adapter_files(),
    }
    for name, files in contents.items():
        with zipfile.ZipFile(place / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in files.items():
                archive.writestr(path, data)


def played(data: Path, place: Path) -> Found:
    """Import, deploy and make keys; the ids of what is there, with the keys' texts."""
    import json

    archives(place)
    names = {"place": str(place), "broken": BROKEN, "refused": REFUSED, "stopped": STOPPED, "chat": CHAT,
             "embeddings": EMBEDDINGS}  # fmt: skip
    done = run("shell", "-v", "0", "-c", PEOPLE + SCENE % names, data=data)
    line = next((line for line in done.stdout.splitlines() if line.startswith("SCENE ")), "")
    if not line:
        raise SystemExit(done.stdout)
    found: Found = json.loads(line.removeprefix("SCENE "))
    return found


def call(address: str, found: Found) -> None:
    """Real traffic: chats, embeddings, calls that are refused, and one key over its limit."""
    chat, key, trial = found[CHAT]
    vectors, other, _ = found[EMBEDDINGS]
    with httpx.Client(base_url=address, timeout=120) as client:
        for number, question in enumerate(QUESTIONS):
            asked(client, f"/d/{chat}/v1/chat/completions", key, max_tokens=24 + 4 * number,
                  messages=[{"role": "user", "content": question}])  # fmt: skip
            for _ in range(5):
                asked(client, f"/d/{vectors}/v1/embeddings", other, model=EMBEDDINGS, input=list(QUESTIONS))
            asked(client, f"/d/{chat}/v1/chat/completions", trial, max_tokens=8,
                  messages=[{"role": "user", "content": question}])  # fmt: skip
        asked(client, f"/d/{vectors}/v1/embeddings", other, model=EMBEDDINGS, input=5)
        asked(client, f"/d/{chat}/v1/chat/completions", "myk_wrong", messages=[])


def asked(client: httpx.Client, path: str, key: str, **body: Any) -> int:
    """The status of one call."""
    return client.post(path, json=body, headers={"Authorization": f"Bearer {key}"}).status_code


def talk(page: Page) -> None:
    """A streamed answer in the test console of the page that is open."""
    page.fill("#chat-text", "What is a model gateway, in two sentences?")
    page.keyboard.press("Enter")
    page.locator("#console-said").get_by_text("Done.").wait_for(timeout=120_000)


def without_echo(place: Path) -> dict[str, str]:
    """The environment in which the tests' own runtime isn't installed: of one distribution, the first found counts."""
    shadow = place / "shadow"
    info = shadow / "modelyard_echo-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modelyard-echo\nVersion: 0.1.0\n")
    return {"PYTHONPATH": str(shadow), "MODELYARD_PORT": os.environ.get("MODELYARD_PORT", "0")}
