"""A newer revision of a model, beside the one that deployments have."""

import os
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.deployments import operations as deployments
from apps.deployments import runtimes
from apps.models import operations as models
from apps.models import pipeline, storage
from apps.models.hub import operations
from apps.models.models import Model, Status
from apps.models.overrides import operations as overrides
from modelyard.problems import Problem
from tests.hub.conftest import Bring, files
from tests.hub.server import Hub, Repo
from tests.models.conftest import onnx_bytes

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def updated(model: Model, person: User) -> Model:
    found = operations.newer(model)
    assert found
    operations.update(model, found, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    return model


def weights(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


def graph(text: str) -> dict[str, bytes]:
    return {"model.onnx": onnx_bytes(), "README.md": text.encode()}


def card(path: Path) -> str:
    return (path / "README.md").read_text()


def test_deployments_stay_with_theirs_until_they_are_redeployed(hub: Hub, bring: Bring, person: User) -> None:
    hub.repos["acme/graph"] = Repo(graph("first"))
    model = bring("acme/graph")
    assert operations.newer(model) is None
    one = deployments.create(model=model, name="one", runtime="echo", by=person)
    hub.repos["acme/graph"].update({**graph("second"), "config.json": b"{}"})
    updated(model, person)
    assert (model.status, model.revision, model.failure) == (Status.READY, 2, "")
    assert model.hub_origin.commit == hub.repos["acme/graph"].commit
    assert [each.number for each in model.revisions.all()] == [2, 1]
    assert sorted(model.files.values_list("path", flat=True)) == ["README.md", "config.json", "model.onnx"]
    served = runtimes.model_for(model, one.versions.get().model_revision, None)
    assert (card(served.path), [file.path for file in served.files]) == ("first", ["README.md", "model.onnx"])
    deployments.redeploy(one, by=person)
    newest = one.versions.order_by("-number").first()
    assert newest.model_revision == 2
    assert card(runtimes.model_for(model, 2, None).path) == "second"
    # What both have is on disk once.
    both = [storage.folder(model.pk, number) / "model.onnx" for number in (1, 2)]
    assert both[0].samefile(both[1])


def test_one_that_fails_leaves_the_model_as_it_was(hub: Hub, bring: Bring, person: User) -> None:
    model = bring()
    before = weights(storage.folder(model.pk))
    hub.repos["acme/tiny"].update({**files(8), "model.safetensors": b"\xff" * 3000})
    updated(model, person)
    assert (model.status, model.revision, model.failure_code) == (Status.READY, 1, "MYI013")
    assert model.failure.startswith("The update failed: ")
    assert weights(storage.folder(model.pk)) == before
    assert model.files.count() == 3
    assert not list(Path(settings.MODELS_DIR).glob(f"{model.pk}.*"))
    hub.repos["acme/tiny"].update(files(9))
    assert (updated(model, person).revision, model.failure) == (2, "")


def test_it_can_be_cancelled_and_all_of_it_goes_with_the_model(hub: Hub, bring: Bring, person: User) -> None:
    model = bring()
    hub.repos["acme/tiny"].update(files(8))
    found = operations.newer(model)
    assert found
    operations.update(model, found, by=person)
    model.refresh_from_db()
    with pytest.raises(Problem, match="can't be updated now"):
        operations.update(model, found, by=person)
    operations.cancel_update(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.revision) == (Status.READY, 1)
    updated(model, person)
    models.delete(model, by=person)
    assert not list(Path(settings.MODELS_DIR).glob(f"{model.pk}*"))


def test_what_a_cancelled_update_had_downloaded_goes_also_after_a_kill(hub: Hub, bring: Bring, person: User) -> None:
    model = bring()
    hub.repos["acme/tiny"].update(files(8))
    found = operations.newer(model)
    assert found
    operations.update(model, found, by=person)
    half = storage.begun(model.pk)
    (half / "model.safetensors").write_bytes(bytes(1000))  # and then the worker was killed
    os.utime(half, (time.time() - 300, time.time() - 300))
    pipeline.sweep()
    assert half.exists()
    operations.cancel_update(model, by=person)
    pipeline.sweep()
    assert not half.exists()
    assert weights(storage.folder(model.pk)) == files()["model.safetensors"]


def test_one_that_was_blocked_is_overridden_for_its_revision(hub: Hub, bring: Bring, person: User) -> None:
    browser = Client()
    browser.force_login(person)
    model = bring()
    hub.repos["acme/tiny"].update({**files(8), "aux.json": b"{}"})
    updated(model, person)
    assert (model.status, model.revision, model.failure_code) == (Status.READY, 1, "MYI009")
    page = reverse("admin:models_model_change", args=[model.pk])
    shown = browser.get(page).content.decode()
    assert "Retry update" in shown
    assert "Cancel update" in shown
    assert 'name="reason"' in shown
    model = overrides.override_rule(model, "MYI009", "Nobody here has Windows.", by=person)
    assert model.status == Status.UPDATING
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.revision, model.failure) == (Status.READY, 2, "")
    assert "aux.json" in model.files.values_list("path", flat=True)
    assert overrides.of_revision(model.pk, 2)
    assert not overrides.of_revision(model.pk, 1)


def test_one_that_failed_is_retried_or_cancelled_or_goes_in_time(hub: Hub, bring: Bring, person: User) -> None:
    model = bring()
    hub.repos["acme/tiny"].update({**files(8), "aux.json": b"{}"})
    half = storage.half_made(model.pk)
    for _ in range(2):
        updated(model, person)
        assert half.exists()
        pipeline.sweep()
        assert half.exists()
        operations.cancel_update(model, by=person)
        model.refresh_from_db()
        assert (model.status, model.failure) == (Status.READY, "")
        os.utime(half, (time.time() - 300, time.time() - 300))
        pipeline.sweep()
        assert not half.exists()
    updated(model, person)
    os.utime(half, (1, 1))
    pipeline.sweep()
    assert not half.exists()
    with pytest.raises(Problem, match="wasn't ended by"):
        overrides.override_rule(model, "MYI016", "No such thing happened.", by=person)
    models.retry(model, by=person)
    pipeline.run(model.pk)
    model.refresh_from_db()
    assert (model.status, model.revision, model.failure_code) == (Status.READY, 1, "MYI009")
    assert weights(storage.folder(model.pk)) == files()["model.safetensors"]


def test_the_page_and_the_api(hub: Hub, bring: Bring, person: User) -> None:
    browser = Client()
    browser.force_login(person)
    model = bring()
    page, api = reverse("admin:models_model_update", args=[model.pk]), f"/api/v1/models/{model.pk}"
    assert "is here already" in browser.get(page, follow=True).content.decode()
    assert browser.get(f"{api}/newer/").json() == {"newer": None}
    assert browser.post(f"{api}/update/").json()["code"] == "up_to_date"
    hub.repos["acme/tiny"].update({**files(8), "README.md": files()["README.md"]})
    shown = browser.get(page).content.decode()
    assert "model.safetensors" in shown
    assert "2 files are the same" in shown
    assert browser.get(f"{api}/newer/").json()["newer"]["commit"] == hub.repos["acme/tiny"].commit
    browser.post(page, {"commit": hub.repos["acme/tiny"].commit})
    assert "Cancel update" in browser.get(reverse("admin:models_model_change", args=[model.pk])).content.decode()
    assert browser.post(f"{api}/cancel-update/").json()["status"] == "ready"
    assert browser.post(f"{api}/update/").status_code == 202
    pipeline.run(model.pk)
    found = browser.get(f"{api}/").json()
    assert (found["revision"], [each["number"] for each in found["revisions"]]) == (2, [2, 1])
    assert ">r2</a>" in browser.get(reverse("admin:models_model_lineage", args=[model.pk])).content.decode()


def test_what_a_failed_update_brought_is_no_part_of_the_next(hub: Hub, bring: Bring, person: User, settings) -> None:
    model = bring()
    hub.repos["acme/tiny"].update({**files(8), "old.py": b"print('never looked at')", "both/a.json": b"{}"})
    found = operations.newer(model)
    assert found
    operations.update(model, found, by=person)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "inspect", lambda *_: (_ for _ in ()).throw(Problem("x", "It broke.", "Again.")))
        pipeline.run(model.pk)
    os.utime(storage.half_made(model.pk), (time.time() - 300, time.time() - 300))
    pipeline.sweep()
    assert (storage.half_made(model.pk) / "old.py").exists()
    hub.repos["acme/tiny"] = Repo({**files(9), "both": b"a file now"})
    model.refresh_from_db()
    updated(model, person)
    there = {path.name for path in storage.folder(model.pk, 2).rglob("*") if path.is_file()}
    assert (model.revision, there) == (
        2,
        {path.rsplit("/", 1)[-1] for path in model.files.values_list("path", flat=True)},
    )
    assert "old.py" not in there
