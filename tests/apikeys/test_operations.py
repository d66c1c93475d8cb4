"""What people do with keys, and what is written down of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections, connections
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from apps.apikeys import operations, tokens
from apps.apikeys.models import LIMITS, ApiKey, KeyEvent, State, state_of
from apps.deployments.models import Deployment
from modelyard import changes
from modelyard.problems import Problem


@pytest.fixture
def key(deployment: Deployment) -> ApiKey:
    return operations.create(deployment=deployment, name="app", by=None, tokens_per_day=1000, scopes=["chat"])[0]


def announced() -> list[str]:
    with changes.connection() as client:
        return [fields[b"id"].decode() for _, fields in client.xrange(changes.STREAM) if fields[b"kind"] == b"key"]


def test_a_key_has_what_it_was_given(deployment: Deployment) -> None:
    limits: dict[str, Any] = dict.fromkeys(LIMITS, 7)
    given: dict[str, Any] = {
        "scopes": ["embeddings", "chat"],
        "networks": [" 10.0.0.0/8 ", "2001:DB8::1"],
        "notes": "a\r\nb ",
    }
    key, _ = operations.create(deployment=deployment, name="app", by=None, **given, **limits)
    key.refresh_from_db()
    assert (key.scopes, key.networks, key.notes) == (["chat", "embeddings"], ["10.0.0.0/8", "2001:db8::1"], "a\nb")
    assert {name: getattr(key, name) for name in LIMITS} == limits
    assert key.account == key.pk


def test_a_key_without_more_may_everything(deployment: Deployment) -> None:
    key, _ = operations.create(deployment=deployment, name="app", by=None)
    assert (key.scopes, key.networks) == ([], [])
    assert {getattr(key, name) for name in LIMITS} == {None}


@pytest.mark.parametrize(
    ("given", "code", "named"),
    [
        ({"scopes": ["chat", "admin"]}, "invalid_scopes", "admin"),
        ({"networks": ["10.0.0.1", "10.0.0.300"]}, "invalid_networks", "10.0.0.300"),
        ({"networks": ["10.1.2.3/8"]}, "invalid_networks", "10.0.0.0/8"),
        ({"networks": ["fe80::1%eth0"]}, "invalid_networks", "interface"),
        ({"networks": [f"10.0.{n}.0/24" for n in range(101)]}, "invalid_networks", "100"),
        ({"notes": "x" * 2001}, "invalid_notes", "2000"),
        ({"notes": "a\0b"}, "invalid_notes", "text"),
        ({"tokens_per_day": -1}, "invalid_limit", "tokens a day"),
        ({"concurrent_requests": 10**15 + 1}, "invalid_limit", "requests at once"),
        ({"requests_per_minute": True}, "invalid_limit", "requests a minute"),
        ({"requests_per_minute": 1.5}, "invalid_limit", "requests a minute"),
    ],
)
def test_what_will_not_do_is_refused_by_name(
    deployment: Deployment, given: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(Problem) as caught:
        operations.create(deployment=deployment, name="app", by=None, **given)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert named in str(caught.value)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("192.0.2.7", "192.0.2.7"), ("192.0.2.7/32", "192.0.2.7"), ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("2001:0DB8:0::/32", "2001:db8::/32"), ("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.0/120",
        "192.0.2.0/24"), ("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0"),
    ],
)  # fmt: skip
def test_networks_are_kept_in_one_form(deployment: Deployment, text: str, stored: str) -> None:
    key, _ = operations.create(deployment=deployment, name="app", by=None, networks=[text, stored, ""])
    assert key.networks == [stored]


def test_only_what_is_given_changes(key: ApiKey) -> None:
    operations.edit(key, by=None, name="new", tokens_per_day=None, requests_per_minute=0)
    assert (key.name, key.tokens_per_day, key.requests_per_minute) == ("new", None, 0)
    assert (key.scopes, key.hash) == (["chat"], ApiKey.objects.get().hash)


def test_an_edit_writes_down_who_changed_what(key: ApiKey) -> None:
    anna = User.objects.create(username="anna")
    operations.edit(key, by=anna, tokens_per_day=100_000, scopes=[], networks=["10.0.0.0/8"])
    event = KeyEvent.objects.first()
    assert event
    assert (event.code, event.by, event.key_id, event.account) == ("edited", anna, key.pk, key.account)
    assert event.message == (
        "Changed tokens a day from 1,000 to 100,000, scopes from chat to everything "
        "and networks from anywhere to 10.0.0.0/8."
    )
    assert event.detail["tokens_per_day"] == [1000, 100_000]


def test_an_edit_that_changes_nothing_says_nothing(key: ApiKey) -> None:
    operations.edit(key, by=None, name=" app ", scopes=["chat", "chat"], tokens_per_day=1000)
    assert list(KeyEvent.objects.values_list("code", flat=True)) == ["created"]


def test_an_edit_does_not_undo_what_happened_meanwhile(key: ApiKey) -> None:
    stale = ApiKey.objects.get()
    ApiKey.objects.update(last_used_from="10.0.0.1")
    operations.edit(key, by=None, name="first")
    operations.edit(stale, by=None, notes="second")
    row = ApiKey.objects.get()
    assert (row.name, row.notes, row.last_used_from) == ("first", "second", "10.0.0.1")


def test_a_revoked_key_is_not_edited_or_rotated(key: ApiKey) -> None:
    operations.revoke(key, by=None)
    for verb in (lambda: operations.edit(key, by=None, name="x"), lambda: operations.rotate(key, by=None)):
        with pytest.raises(Problem, match="is revoked") as caught:
            verb()
        assert caught.value.code == "key_revoked"


def test_an_expired_key_lives_again_with_a_later_expiry(key: ApiKey) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))
    key.refresh_from_db()
    operations.edit(key, by=None, notes="late", expires_at=key.expires_at)
    assert state_of(key) == State.EXPIRED
    operations.edit(key, by=None, expires_at=None)
    assert state_of(key) == State.ACTIVE


def test_rotation_keeps_everything_but_the_secret(deployment: Deployment) -> None:
    ends = timezone.now() + timedelta(days=90)
    old, _ = operations.create(deployment=deployment, name="app", by=None, notes="n", networks=["::1"],
                               requests_per_minute=60, expires_at=ends)  # fmt: skip
    new, text = operations.rotate(old, by=None)
    token = tokens.read(text)
    assert token
    assert tokens.matches(token.secret, new.hash)
    assert (new.name, new.notes, new.networks, new.requests_per_minute) == ("app", "n", ["::1"], 60)
    assert (new.account, new.expires_at, new.deployment) == (old.account, ends, deployment)
    assert old.successor == new


def test_a_line_of_rotations_is_one_account(key: ApiKey) -> None:
    last = key
    for _ in range(3):
        last, _ = operations.rotate(last, by=None)
    assert set(ApiKey.objects.values_list("account", flat=True)) == {key.pk}
    assert [event.code for event in operations.history(last)][:2] == ["created", "rotated"]
    assert len(operations.history(key)) == 7


def test_the_old_key_works_for_the_overlap(key: ApiKey) -> None:
    before = timezone.now()
    operations.rotate(key, by=None, overlap=timedelta(hours=1))
    assert key.expires_at
    assert before + timedelta(hours=1) <= key.expires_at <= timezone.now() + timedelta(hours=1)
    assert state_of(key) == State.ACTIVE


def test_an_overlap_never_makes_a_key_live_longer(deployment: Deployment) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    old, _ = operations.create(deployment=deployment, name="app", by=None, expires_at=soon)
    operations.rotate(old, by=None, overlap=timedelta(days=30))
    assert old.expires_at == soon


def test_without_an_overlap_the_old_key_ends_at_once(key: ApiKey) -> None:
    new, _ = operations.rotate(key, by=None, overlap=timedelta())
    assert (state_of(key), state_of(new)) == (State.EXPIRED, State.ACTIVE)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=30, seconds=1)])
def test_an_overlap_has_bounds(key: ApiKey, overlap: timedelta) -> None:
    with pytest.raises(Problem, match="overlap isn't possible"):
        operations.rotate(key, by=None, overlap=overlap)
    assert ApiKey.objects.count() == 1


def test_a_key_is_rotated_once(key: ApiKey) -> None:
    operations.rotate(key, by=None)
    with pytest.raises(Problem, match="rotated already"):
        operations.rotate(key, by=None)


def test_an_expired_key_is_not_rotated(key: ApiKey) -> None:
    ApiKey.objects.update(expires_at=timezone.now())
    with pytest.raises(Problem, match="has expired"):
        operations.rotate(key, by=None)


@pytest.mark.parametrize("ends", [None, timedelta(days=31)])
def test_a_rotated_key_can_not_be_kept(key: ApiKey, ends: timedelta | None) -> None:
    operations.rotate(key, by=None)
    with pytest.raises(Problem, match="has to end"):
        operations.edit(key, by=None, expires_at=timezone.now() + ends if ends else None)
    operations.edit(key, by=None, expires_at=timezone.now() + timedelta(days=2))


def test_a_rotated_key_that_has_ended_stays_so(key: ApiKey) -> None:
    operations.rotate(key, by=None, overlap=timedelta())
    with pytest.raises(Problem, match="was rotated and has ended"):
        operations.edit(key, by=None, expires_at=timezone.now() + timedelta(days=2))


@pytest.mark.parametrize("edited", ["old", "new"])
def test_limits_are_one_for_both_keys_of_an_overlap(key: ApiKey, edited: str) -> None:
    new, _ = operations.rotate(key, by=None)
    one, other = (key, new) if edited == "old" else (new, key)
    operations.edit(one, by=None, tokens_per_day=5, requests_per_minute=0, notes="for one")
    other.refresh_from_db()
    assert (other.tokens_per_day, other.requests_per_minute, other.notes) == (5, 0, "")
    event = operations.history(key).first()
    assert (event.key_id, event.code) == (other.pk, "edited")
    assert f"{one.prefix}…" in event.message


def test_limits_of_keys_that_have_ended_stay_as_they_were(key: ApiKey) -> None:
    new, _ = operations.rotate(key, by=None, overlap=timedelta())
    operations.edit(new, by=None, tokens_per_day=5)
    key.refresh_from_db()
    assert key.tokens_per_day == 1000


def test_limits_of_a_key_that_can_be_extended_are_changed_too(key: ApiKey) -> None:
    new, _ = operations.rotate(key, by=None)
    ApiKey.objects.filter(pk=new.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    operations.edit(key, by=None, tokens_per_day=5)
    operations.edit(new, by=None, expires_at=timezone.now() + timedelta(days=2))
    assert new.tokens_per_day == 5


def test_revoking_the_old_key_leaves_the_new_one(key: ApiKey) -> None:
    new, _ = operations.rotate(key, by=None)
    operations.revoke(key, by=None)
    new.refresh_from_db()
    assert (state_of(key), state_of(new)) == (State.REVOKED, State.ACTIVE)


def test_every_verb_is_announced(
    key: ApiKey, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        operations.edit(key, by=None, name="x")
    assert announced() == [key.pk]
    with django_capture_on_commit_callbacks(execute=True):
        new, _ = operations.rotate(key, by=None)
    assert announced()[1:] == [key.pk, new.pk]
    with django_capture_on_commit_callbacks(execute=True):
        operations.revoke(key, by=None)
        operations.revoke(key, by=None)
    assert announced()[3:] == [key.pk]


def test_history_has_no_secret_and_outlives_the_key(deployment: Deployment) -> None:
    key, first = operations.create(deployment=deployment, name="app", by=None)
    _, second = operations.rotate(key, by=None)
    ApiKey.objects.all().delete()
    told = " ".join(str(row) for row in KeyEvent.objects.values())
    for text in (first, second):
        token = tokens.read(text)
        assert token
        assert token.id in told
        assert token.secret[3:] not in told
        assert tokens.digest(token.secret) not in told


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_wins(key: ApiKey) -> None:
    def rotate() -> str:
        try:
            operations.rotate(ApiKey.objects.get(pk=key.pk), by=None)
        except Problem as problem:
            return problem.code
        finally:
            close_old_connections()
            connections.close_all()
        return "done"

    with ThreadPoolExecutor(4) as pool:
        answers = [each.result() for each in [pool.submit(rotate) for _ in range(4)]]
    assert sorted(answers) == ["already_rotated"] * 3 + ["done"]
    assert ApiKey.objects.count() == 2


def test_an_edit_of_what_somebody_else_has_changed_is_refused(deployment: Deployment) -> None:
    key, _ = operations.create(deployment=deployment, name="app", by=None)
    seen = operations.stamp(key)
    operations.edit(key, by=None, seen=seen, requests_per_minute=5)
    with pytest.raises(Problem) as refused:
        operations.edit(key, by=None, seen=seen, notes="mine")
    assert refused.value.code == "edit_conflict"
    assert operations.edit(key, by=None, seen=operations.stamp(key), notes="mine").requests_per_minute == 5
