"""Keys in the admin: who sees and does what, and what a page shows once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.apikeys import operations, tokens, words
from apps.apikeys.forms import EditKeyForm
from apps.apikeys.models import LIMITS, ApiKey, State, state_of
from apps.deployments.models import Deployment
from modelyard.roles import create_groups

LIST = "/admin/apikeys/apikey/"
TEXT = re.compile(r"myk_\w{60,}")


@pytest.fixture
def key(deployment: Deployment) -> ApiKey:
    return operations.create(deployment=deployment, name="app", by=None, tokens_per_day=100_000)[0]


def person(group: str = "", *permissions: str) -> Client:
    user = User.objects.create(username=group or "root", is_staff=True, is_superuser=not group)
    create_groups()
    user.groups.set(Group.objects.filter(name=group))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page(deployment: Deployment, name: str = "keys", *more: str) -> str:
    return reverse(f"admin:deployments_deployment_{name}", args=[deployment.pk, *more])


def form_of(key: ApiKey, **changed: Any) -> dict[str, Any]:
    """What a browser sends of a key's form."""
    form = EditKeyForm(None, key)
    shown = {field.name: field.value() for field in form} | {"expires_at": form["expires_at"].value() or ""}
    return {name: "" if value is None else value for name, value in {**shown, **changed}.items()}


def test_a_key_is_made_with_all_that_more_offers(deployment: Deployment) -> None:
    values = {"name": "app", "days": "", "scopes": ["chat", "embeddings"], "notes": "for the app",
              "networks": "10.0.0.0/8\r\n2001:db8::1\r\n", "expires_at": "2199-01-02T03:04:05",
              **dict.fromkeys(LIMITS, "7"), "tokens_per_day": "0", "tokens_per_month": ""}  # fmt: skip
    shown = person().post(page(deployment), values).content.decode()
    text = TEXT.search(shown)
    assert text
    made = ApiKey.objects.get()
    assert tokens.read(text[0])
    assert (made.scopes, made.networks) == (["chat", "embeddings"], ["10.0.0.0/8", "2001:db8::1"])
    assert (made.requests_per_minute, made.tokens_per_day, made.tokens_per_month) == (7, 0, None)
    assert (made.notes, str(made.expires_at)) == ("for the app", "2199-01-02 03:04:05+00:00")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"networks": "10.0.0.0/8\nnonsense"}, "“nonsense” is no address"),
        ({"tokens_per_day": "-1"}, "greater than or equal to 0"),
        ({"tokens_per_month": str(10**15 + 1)}, "less than or equal to"),
        ({"scopes": ["admin"]}, "not one of the available choices"),
        ({"expires_at": "2020-01-01T00:00:00", "days": ""}, "would have expired already"),
        ({"expires_at": "2199-01-01T00:00:00"}, "not both"),
        ({"name": "  "}, "This field is required"),
    ],
)
def test_bad_input_is_said_at_its_field_and_kept(deployment: Deployment, wrong: dict[str, Any], said: str) -> None:
    values = {"name": "app", "days": "30", "notes": "typed with care", "networks": "10.0.0.0/8", "form_id": "a"}
    html = person().post(page(deployment), values | wrong).content.decode()
    assert said in html
    assert "typed with care" in html
    assert "<details open>" in html
    assert not ApiKey.objects.exists()
    assert 'name="form_id" value="a"' not in html


def test_the_list_tells_limits_scopes_and_last_use(key: ApiKey) -> None:
    ApiKey.objects.update(last_used_at=timezone.now(), last_used_from="203.0.113.9", requests_per_minute=60)
    html = person().get(page(key.deployment)).content.decode()
    for told in ("60/min · 100\u00a0k\u00a0tok/day", "everything", "203.0.113.9", page(key.deployment, "key", key.pk)):
        assert told in html


def test_a_rotated_key_shows_its_successor_and_its_end(key: ApiKey) -> None:
    new, _ = operations.rotate(key, by=None)
    html = person().get(page(key.deployment)).content.decode()
    assert key.expires_at
    assert f"works until {words.moment(key.expires_at)}" in html
    assert f"{new.prefix}…" in html


def test_an_edit_writes_only_what_was_changed(deployment: Deployment) -> None:
    soon = timezone.now() + timedelta(days=3)
    key, _ = operations.create(deployment=deployment, name="app", by=None, expires_at=soon, networks=["::1", "::2"],
                               scopes=["chat"], notes="n", requests_per_minute=0)  # fmt: skip
    client = person()
    client.post(page(deployment, "key", key.pk), form_of(key))
    assert [event.code for event in operations.history(key)] == ["created"]
    client.post(page(deployment, "key", key.pk), form_of(key, requests_per_minute=""))
    event = operations.history(key).first()
    assert event.detail == {"requests_per_minute": [0, None]}
    key.refresh_from_db()
    assert (key.expires_at, key.requests_per_minute) == (soon, None)


def test_the_exact_end_names_the_zone_it_is_typed_in(settings: Settings, key: ApiKey) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    admin = person()
    for address in (page(key.deployment), page(key.deployment, "key", key.pk)):
        assert "In the time zone of this installation: Asia/Tokyo." in admin.get(address).content.decode()


def test_of_two_people_who_edit_a_key_the_second_is_told_and_changes_nothing_back(key: ApiKey) -> None:
    client, address = person(), page(key.deployment, "key", key.pk)
    sent = form_of(key, notes="typed\r\nwith care", networks="nonsense")
    operations.edit(key, by=None, scopes=["chat"], tokens_per_day=5, name="theirs")
    answer = client.post(address, sent)
    html = answer.content.decode()
    for told in ("Somebody else has changed this meanwhile", "Nothing was saved", "with care", "nonsense", "theirs"):
        assert told in html
    assert '<th scope="row">Tokens a day</th><td>5</td><td>100,000</td>' in html
    assert answer.context["form"]["tokens_per_day"].value() == 5
    key.refresh_from_db()
    assert (key.name, key.scopes, key.tokens_per_day, key.notes) == ("theirs", ["chat"], 5, "")
    assert client.post(address, form_of(key, notes="again")).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes, key.tokens_per_day, key.notes) == ("theirs", ["chat"], 5, "again")


def test_a_wrong_edit_keeps_what_was_typed(key: ApiKey) -> None:
    values = form_of(key, networks="10.1.2.3/8", name="other")
    html = person().post(page(key.deployment, "key", key.pk), values).content.decode()
    assert "Write 10.0.0.0/8 for the network" in html
    assert "10.1.2.3/8</textarea>" in html
    key.refresh_from_db()
    assert (key.name, key.networks) == ("app", [])


def test_rotation_shows_the_new_key_once(key: ApiKey) -> None:
    client = person()
    values = {"overlap": "3600", "form_id": "abc"}
    shown = TEXT.search(client.post(page(key.deployment, "rotate_key", key.pk), values).content.decode())
    assert shown
    again = client.post(page(key.deployment, "rotate_key", key.pk), values, follow=True).content.decode()
    assert "That was done already" in again
    assert shown[0] not in again
    assert client.get(page(key.deployment, "rotate_key", key.pk)).status_code == 302
    assert ApiKey.objects.count() == 2


def test_what_keeps_a_page_up_to_date_leaves_a_new_key_on_it_and_never_has_it(key: ApiKey) -> None:
    client = person()
    made = client.post(page(key.deployment), {"name": "app"}).content.decode()
    rotated = client.post(page(key.deployment, "rotate_key", key.pk), {"overlap": "0"}).content.decode()
    for html in (made, rotated):
        assert TEXT.search(html)
        asked = re.search(r'data-parts-url="([^"]+)"', html)
        assert asked
        parts = client.get(asked[1], headers={"X-Modelyard-Parts": "1"}).content.decode()
        assert 'data-part="status"' in parts
        assert not TEXT.search(parts)
        assert "my-fresh" not in parts


@pytest.mark.parametrize("overlap", ["", "-1", "1", "9999999"])
def test_an_overlap_that_is_not_offered_rotates_nothing(key: ApiKey, overlap: str) -> None:
    html = person().post(page(key.deployment, "rotate_key", key.pk), {"overlap": overlap}).content.decode()
    assert "my-error" in html
    assert ApiKey.objects.count() == 1


def test_what_has_ended_offers_nothing_that_can_not_be(key: ApiKey) -> None:
    client = person()
    operations.rotate(key, by=None)
    assert "/rotate/" not in client.get(page(key.deployment, "key", key.pk)).content.decode()
    said = client.post(page(key.deployment, "rotate_key", key.pk), {"overlap": "0"}, follow=True).content.decode()
    assert "was rotated already" in said
    operations.revoke(key, by=None)
    html = client.get(page(key.deployment, "key", key.pk)).content.decode()
    assert f'action="{page(key.deployment, "key", key.pk)}"' not in html
    said = client.post(page(key.deployment, "key", key.pk), form_of(key, name="x")).content.decode()
    assert "is revoked and can&#x27;t be changed" in said


def test_the_history_names_who_did_what(key: ApiKey) -> None:
    client = person()
    client.post(page(key.deployment, "key", key.pk), form_of(key, tokens_per_day="5"))
    html = client.get(page(key.deployment, "key", key.pk)).content.decode()
    assert "Changed tokens a day from 100,000 to 5." in html
    assert "(root)" in html


def test_a_viewer_sees_a_key_and_changes_nothing(key: ApiKey) -> None:
    client = person("Viewers")
    html = client.get(page(key.deployment, "key", key.pk)).content.decode()
    assert "100\u00a0k\u00a0tok/day" in html
    assert "/rotate/" not in html
    assert "/revoke/" not in html
    for name in ("key", "rotate_key", "revoke_key"):
        assert client.post(page(key.deployment, name, key.pk), form_of(key)).status_code == 403
    assert state_of(ApiKey.objects.get()) == State.ACTIVE


def test_each_verb_has_a_permission_of_its_own(key: ApiKey) -> None:
    client = person("nobody", "view_deployment", "view_apikey", "change_apikey")
    assert client.post(page(key.deployment, "key", key.pk), form_of(key, name="new")).status_code == 302
    assert client.post(page(key.deployment, "rotate_key", key.pk), {"overlap": "0"}).status_code == 403
    assert client.post(page(key.deployment, "revoke_key", key.pk)).status_code == 403
    blind = Client()
    blind.force_login(User.objects.create(username="blind", is_staff=True))
    assert blind.get(page(key.deployment, "key", key.pk)).status_code == 403


def test_a_key_of_another_deployment_has_no_page_here(key: ApiKey, other: Deployment) -> None:
    client = person()
    assert client.get(page(other, "key", key.pk)).status_code == 404
    assert client.post(page(other, "key", key.pk), form_of(key, name="x")).status_code == 404
    assert client.post(page(other, "rotate_key", key.pk), {"overlap": "0"}).status_code == 404
    assert ApiKey.objects.get().name == "app"


def test_what_people_type_is_shown_as_text(deployment: Deployment) -> None:
    key, _ = operations.create(deployment=deployment, name="<b>x", by=None, notes="<script>alert(1)</script>")
    client = person()
    for address in (page(deployment), page(deployment, "key", key.pk), LIST):
        html = client.get(address).content.decode()
        assert "<b>x" not in html
        assert "<script>alert" not in html


@pytest.mark.parametrize(
    ("state", "names"),
    [("", ["a", "app", "app", "e", "r"]), ("active", ["a", "app", "app"]), ("rotated", ["app"]), ("expired", ["e"]),
     ("revoked", ["r"])],
)  # fmt: skip
def test_all_keys_are_filtered_by_state(key: ApiKey, state: str, names: list[str]) -> None:
    a, e, r = (operations.create(deployment=key.deployment, name=name, by=None)[0] for name in "aer")
    ApiKey.objects.filter(pk=e.pk).update(expires_at=timezone.now())
    operations.revoke(r, by=None)
    operations.rotate(key, by=None)
    html = person().get(f"{LIST}?state={state}").content.decode()
    prefixes = set(re.findall(r'<code class="my-below">(\w+)…', html))
    assert sorted(ApiKey.objects.filter(prefix__in=prefixes).values_list("name", flat=True)) == names
    assert page(key.deployment, "key", a.pk) in html or state not in {"", "active"}


@pytest.mark.parametrize("everywhere", [True, False])
def test_lists_take_the_same_queries_for_any_number(
    key: ApiKey, django_assert_max_num_queries: DjangoAssertNumQueries, everywhere: bool
) -> None:
    client, address = person(), LIST if everywhere else page(key.deployment)
    operations.rotate(key, by=None)
    with django_assert_max_num_queries(60) as few:
        client.get(address)
    for number in range(20):
        made, _ = operations.create(deployment=key.deployment, name=f"k{number}", by=None)
        operations.rotate(made, by=None)
    with django_assert_max_num_queries(60) as many:
        client.get(address)
    assert len(many) <= len(few) + 1


@pytest.mark.parametrize(
    ("number", "short"),
    [(0, "0"), (60, "60"), (999, "999"), (1000, "1 k"), (1234, "1,234"), (1230, "1.23 k"), (100_000, "100 k"),
     (1_500_000, "1.5 M"), (1_234_567, "1,234,567"), (10**15, "1,000,000,000 M")],
)  # fmt: skip
def test_numbers_are_shortened_where_nothing_is_lost(number: int, short: str) -> None:
    assert words.amount(number) == short
