"""Letting a model in against a rule: who may, what is kept of it, and what can't be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from apps.models import operations, pipeline, storage
from apps.models.models import Level, Model, Status
from apps.models.overrides import operations as overrides
from apps.models.overrides.models import RuleOverride
from modelyard import roles
from modelyard.problems import Problem
from tests.models.conftest import Zip, config, good
from tests.models.test_pickles import EVIL, state, torch_zip

Imported = Callable[[Path], Model]
REASON = "Made by our own team, see the ticket."


@pytest.fixture
def pickled(make_zip: Zip, imported: Imported) -> Model:
    """A model of pickles that pass the list, refused by MYI016."""
    return imported(make_zip({"pytorch_model.bin": torch_zip(state()), "config.json": config(), "old.pt": EVIL}))


def again(model: Model) -> Model:
    pipeline.run(model.pk)
    model.refresh_from_db()
    return model


def client(group: str) -> Client:
    roles.create_groups()
    user = User.objects.create(username=group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    browser = Client()
    browser.force_login(user)
    return browser


def test_an_override_lets_the_model_in_with_a_warning_of_who_and_why(pickled: Model, person: User) -> None:
    model = again(overrides.override_rule(pickled, "MYI016", REASON, by=person))
    assert (model.status, model.format) == (Status.READY, "pickle")
    warned = model.findings.get(rule="MYI016")
    assert warned.level == Level.WARN
    assert f"Overridden by anna on {RuleOverride.objects.get().at:%Y-%m-%d}: {REASON}" == warned.next_step
    assert sorted(model.files.values_list("path", flat=True)) == ["config.json", "pytorch_model.bin"]
    assert "old.pt would import posix.system" in model.findings.get(rule="MYI011").finding
    assert not storage.upload(model.pk).exists()


def test_the_record_outlives_the_model_and_the_person(pickled: Model, person: User) -> None:
    identifier = pickled.pk
    operations.delete(again(overrides.override_rule(pickled, "MYI016", REASON, by=person)), by=person)
    person.delete()
    row = RuleOverride.objects.get()
    assert (row.model_id, row.model_name, row.rule, row.by_name, row.by) == (identifier, "tiny", "MYI016", "anna", None)
    assert "are pickles" in row.finding


OVERRIDDEN = {
    "MYI005": {**good(), "inner.zip": b"PK\x03\x04"},
    "MYI009": {**good(), "aux.json": b"{}"},
    "MYI018": {**good(), "weights.data": b"\x7fELF" + bytes(60)},
    "MYI025": {**good(), "a.json": b'{"a": 1, "a": 2}'},
    "MYI026": {**good(), "tokenizer.json": config(model={}, added_tokens=[{"content": "a" * 9000}])},
    "MYI027": {**good(), "chat_template.jinja": b"{{ x.__class__ }}"},
}


@pytest.mark.parametrize("rule", OVERRIDDEN)
def test_each_rule_that_may_be_overridden_warns_then(
    make_zip: Zip, imported: Imported, person: User, rule: str
) -> None:
    model = imported(make_zip(OVERRIDDEN[rule]))
    assert model.failure_code == rule
    model = again(overrides.override_rule(model, rule, REASON, by=person))
    assert model.status == Status.READY, model.failure
    assert [row.level for row in model.findings.filter(rule=rule)] == [Level.WARN]


def test_all_rules_are_tried_here() -> None:
    assert {*OVERRIDDEN, "MYI016"} == overrides.OVERRIDABLE


def test_an_override_of_one_rule_leaves_the_others(make_zip: Zip, imported: Imported, person: User) -> None:
    model = imported(make_zip({**good(), "aux.json": b'{"a": 1, "a": 2}'}))
    model = again(overrides.override_rule(model, "MYI009", REASON, by=person))
    assert model.failure_code == "MYI025"
    assert again(overrides.override_rule(model, "MYI025", REASON, by=person)).status == Status.READY
    assert RuleOverride.objects.count() == 2


@pytest.mark.parametrize(
    ("rule", "reason", "code"),
    [
        ("MYI015", REASON, "never_overridden"),
        ("MYI002", REASON, "never_overridden"),
        ("MYI027", REASON, "nothing_to_override"),
        ("MYI999", REASON, "nothing_to_override"),
        ("MYI016", "", "no_reason"),
        ("MYI016", " \n because ", "no_reason"),
        ("MYI016", "x" * 1001, "no_reason"),
    ],
)
def test_what_cannot_be_overridden_is_refused(pickled: Model, person: User, rule: str, reason: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        overrides.override_rule(pickled, rule, reason, by=person)
    assert caught.value.code == code
    assert not RuleOverride.objects.exists()
    pickled.refresh_from_db()
    assert pickled.status == Status.IMPORT_FAILED


def test_a_ready_model_has_nothing_to_override(make_zip: Zip, imported: Imported, person: User) -> None:
    with pytest.raises(Problem, match="wasn't ended"):
        overrides.override_rule(imported(make_zip(good())), "MYI016", REASON, by=person)


def test_what_nobody_decides_on_goes_after_a_week(pickled: Model, person: User) -> None:
    pipeline.sweep()
    archive = storage.upload(pickled.pk)
    assert archive.exists()
    os.utime(archive, (1, 1))
    pipeline.sweep()
    assert not archive.exists()
    with pytest.raises(Problem, match="isn't there any more"):
        overrides.override_rule(pickled, "MYI016", REASON, by=person)
    assert not RuleOverride.objects.exists()


def test_the_week_begins_when_the_import_is_blocked(make_zip: Zip, person: User) -> None:
    files = {"pytorch_model.bin": torch_zip(state()), "config.json": config()}
    model = operations.import_file(make_zip(files), "late", by=person)
    os.utime(storage.upload(model.pk), (1, 1))  # it had to wait, for disk space perhaps
    assert again(model).failure_code == "MYI016"
    pipeline.sweep()
    assert again(overrides.override_rule(model, "MYI016", REASON, by=person)).status == Status.READY


def test_the_page_offers_it_to_those_who_may(pickled: Model) -> None:
    page = f"/admin/models/model/{pickled.pk}/change/"
    html = client("Platform admins").get(page).content.decode()
    assert 'name="reason"' in html
    assert "It protects from" in html
    assert 'name="reason"' not in client("Deployers").get(page).content.decode()


def test_the_page_overrides_once_with_a_reason(pickled: Model) -> None:
    browser, page = client("Platform admins"), f"/admin/models/model/{pickled.pk}/"
    body = {"rule": "MYI016", "reason": REASON, "form_id": "x"}
    assert browser.post(f"{page}override/", {**body, "reason": "", "form_id": "y"}).status_code == 302
    assert not RuleOverride.objects.exists()
    browser.post(f"{page}override/", body)
    browser.post(f"{page}override/", body)
    assert RuleOverride.objects.get().by_name == "Platform admins"
    assert again(pickled).status == Status.READY
    assert REASON in browser.get(f"{page}report/").content.decode()


@pytest.mark.parametrize("group", ["Viewers", "Deployers"])
def test_others_may_not(pickled: Model, group: str) -> None:
    body = {"rule": "MYI016", "reason": REASON}
    browser = client(group)
    assert browser.post(f"/admin/models/model/{pickled.pk}/override/", body).status_code == 403
    assert browser.post(f"/api/v1/models/{pickled.pk}/override/", body).status_code == 403
    assert not RuleOverride.objects.exists()


def test_the_api_overrides_and_lists_it(pickled: Model) -> None:
    browser, address = client("Platform admins"), f"/api/v1/models/{pickled.pk}/"
    answer = browser.post(f"{address}override/", {"rule": "MYI015", "reason": REASON})
    assert (answer.status_code, answer.json()["code"]) == (409, "never_overridden")
    answer = browser.post(f"{address}override/", {"rule": "MYI016", "reason": REASON})
    assert (answer.status_code, answer.json()["status"]) == (202, "importing")
    said = browser.get(address).json()["overrides"]
    assert [(row["rule"], row["reason"], row["by"]) for row in said] == [("MYI016", REASON, "Platform admins")]


def test_a_page_that_was_shown_before_another_try_overrides_nothing(pickled: Model, person: User) -> None:
    Model.objects.update(failure_code="MYI027", failure="Something else.")
    with pytest.raises(Problem) as caught:
        overrides.override_rule(pickled, "MYI016", REASON, by=person)
    assert caught.value.code == "nothing_to_override"
    assert not RuleOverride.objects.exists()
