"""Keys: made, read, hashed; and what of them is never stored."""

import string
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.apikeys import operations, tokens
from apps.apikeys.models import ApiKey, State, state_of
from apps.deployments import operations as deployments
from apps.deployments.models import Deployment
from modelyard.problems import Problem


def test_a_key_is_read_back_as_it_was_made() -> None:
    token, text = tokens.make()
    assert tokens.read(text) == token
    assert text.startswith(f"myk_{token.id}_")
    assert len(token.secret) * 5 >= 256


@given(st.integers(0, 80), st.sampled_from(string.printable))
def test_any_changed_character_is_noticed_without_a_lookup(place: int, char: str) -> None:
    _, text = tokens.make()
    changed = text[:place] + char + text[place + 1 :]
    assert changed == text or tokens.read(changed) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert tokens.read(text) is None


def test_the_secret_is_not_in_the_database(deployment: Deployment) -> None:
    key, text = operations.create(deployment=deployment, name="app", by=None)
    token = tokens.read(text)
    assert token
    row = " ".join(str(value) for value in ApiKey.objects.filter(pk=key.pk).values().get().values())
    assert token.secret not in row
    assert token.secret[3:] not in row
    assert tokens.matches(token.secret, key.hash)


def test_the_hash_is_of_no_use_without_the_platforms_secret(settings: Settings) -> None:
    token, _ = tokens.make()
    stored = tokens.digest(token.secret)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another one", []
    assert not tokens.matches(token.secret, stored)


def test_keys_outlive_a_new_secret_key_while_the_old_one_is_kept(settings: Settings) -> None:
    token, _ = tokens.make()
    stored = tokens.digest(token.secret)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one"
    assert tokens.matches(token.secret, stored)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b"])
def test_a_name_that_will_not_do_is_refused(deployment: Deployment, name: str) -> None:
    with pytest.raises(Problem, match="name of the key"):
        operations.create(deployment=deployment, name=name, by=None)


def test_a_key_that_would_have_expired_is_refused(deployment: Deployment) -> None:
    with pytest.raises(Problem, match="expired already"):
        operations.create(deployment=deployment, name="old", by=None, expires_at=timezone.now())


def test_revoking_twice_keeps_the_first_moment(deployment: Deployment) -> None:
    key, _ = operations.create(deployment=deployment, name="app", by=None)
    first = operations.revoke(key, by=None).revoked_at
    assert operations.revoke(key, by=None).revoked_at == first
    assert state_of(key) == State.REVOKED


def test_only_expired_keys_are_forgotten(deployment: Deployment) -> None:
    operations.create(deployment=deployment, name="demo 1", by=None)
    old, _ = operations.create(deployment=deployment, name="demo 2", by=None)
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(days=1))
    operations.forget(deployment=deployment, name_prefix="demo")
    assert list(ApiKey.objects.values_list("name", flat=True)) == ["demo 1"]


def test_deleting_a_deployment_takes_its_keys(deployment: Deployment) -> None:
    operations.create(deployment=deployment, name="app", by=None)
    deployments.delete(deployment, by=None)
    assert not ApiKey.objects.exists()
