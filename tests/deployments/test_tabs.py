"""The tabs of a deployment: what they show, to whom, and how they are kept up to date."""

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.apikeys.models import LIMITS
from apps.deployments import operations
from apps.deployments.models import Deployment, Event, Replica, UsageHour, UsageRecord, Version
from apps.deployments.statuses import ReplicaState
from apps.deployments.tabs import endpoint, failures, frame, history, logs
from apps.deployments.usage.timeline import LAST_HOUR, SAMPLE, WINDOWS, timeline
from apps.deployments.versions import Optimization
from apps.models.models import Model
from tests.deployments.conftest import Make, settle, status
from tests.models.conftest import Zip, good, imported, make_zip  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db
PARTS = {"X-Modelyard-Parts": "1"}


@pytest.fixture
def deployment(model: Model, person: User) -> Deployment:
    return operations.create(model=model, name="chat", runtime="echo", by=person)


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def url(deployment: Deployment, tab: str = "detail") -> str:
    return reverse(f"admin:deployments_deployment_{tab}", args=[deployment.pk])


@pytest.mark.parametrize("tab", [tab.name for tab in frame.TABS])
def test_every_tab_opens_in_a_few_queries(
    browser: Client, deployment: Deployment, tab: str, django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(22):  # type: ignore[operator]
        page = browser.get(url(deployment, tab))
    text = page.content.decode()
    assert page.status_code == 200
    assert 'aria-current="page"' in text
    assert " onclick=" not in text
    assert "data-part" in text


def test_parts_come_without_the_site_and_only_when_they_changed(browser: Client, deployment: Deployment) -> None:
    first = browser.get(url(deployment), headers=PARTS)
    assert b"<html" not in first.content
    assert b'data-part="replicas"' in first.content
    same = browser.get(url(deployment), headers={**PARTS, "If-None-Match": first["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    Deployment.objects.filter(pk=deployment.pk).update(stage="Starting the engine")
    other = browser.get(url(deployment), headers={**PARTS, "If-None-Match": first["ETag"]})
    assert (other.status_code, b"Starting the engine" in other.content) == (200, True)


def test_a_viewer_sees_why_the_console_is_shut(deployment: Deployment) -> None:
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.groups.add(Group.objects.get(name="Viewers"))
    client = Client()
    client.force_login(viewer)
    page = client.get(url(deployment)).content.decode()
    assert "Can call a deployment without an API key" in page
    assert 'id="console-body"' not in page
    assert url(deployment, "redeploy") not in page


def test_what_is_not_deployed_says_so_with_the_button_that_mends_it(browser: Client, deployment: Deployment) -> None:
    page = browser.get(url(deployment)).content.decode()
    assert "so nothing answers here yet" in page
    assert reverse("admin:deployments_deployment_do", args=[deployment.pk, "deploy"]) in page


def test_the_console_offers_addresses_as_they_are_sent(
    imported: Callable[[Path], Model],  # noqa: F811
    make_zip: Zip,  # noqa: F811
    browser: Client,
) -> None:
    made = operations.create(model=imported(make_zip(good())), name="My model #1?", runtime="onnx", by=None)
    shown = browser.get(url(made)).context
    paths = [(method, path) for method, path, _ in shown["routes"]]
    assert (shown["sample"]["method"], shown["sample"]["path"]) in paths
    assert ("POST", "/v2/models/My%20model%20%231%3F/infer") in paths
    assert not [path for _, path in paths if "{" in path]


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("out_of_memory", "Change hardware or options"),
        ("start_timeout", "Change the options"),
        ("damaged_model", "Import it again"),
        ("not_installed", "Look at the runtimes"),
        ("stalled", "Re-trigger"),
        ("something_new", "Re-trigger"),
    ],
)
def test_a_failure_has_the_button_that_mends_it_first(
    browser: Client, deployment: Deployment, code: str, first: str
) -> None:
    fields = {"status": "failed", "failure_code": code, "failure": "It broke.", "next_step": "Mend it."}
    Deployment.objects.filter(pk=deployment.pk).update(**fields)
    response = browser.get(url(deployment, "keys"))
    card = response.context["trouble"]
    assert (card.message, card.next_step, card.buttons[0].label) == ("It broke.", "Mend it.", first)
    assert card.buttons[0].primary
    assert "Re-trigger" in [button.label for button in card.buttons]


def test_a_crash_loop_is_mended_as_its_cause_is(browser: Client, deployment: Deployment) -> None:
    Event.objects.create(deployment=deployment, code="engine_died", message="…", detail={"cause": "gpu_out_of_memory"})
    Deployment.objects.filter(pk=deployment.pk).update(status="failed", failure_code="crash_loop", failure="Again.")
    assert browser.get(url(deployment)).context["trouble"].buttons[0].label == "Change hardware or options"
    assert failures.SIZE.isdisjoint(failures.MODEL | failures.RUNTIME | failures.OPTIONS)


def test_the_history_says_what_each_version_changed(make: Make, person: User, browser: Client) -> None:
    made = make("story", words_per_second=5)
    operations.deploy(made, by=person)
    settle(made, status("deployed"))
    operations.redeploy(made, by=person, options={"loud": True}, replicas=2)
    settle(made, lambda found: found.live_version is not None and found.live_version.number == 2 and not found.stage)
    operations.undeploy(made, by=person)
    settle(made, status("stopped"))
    second, first = browser.get(url(made, "history")).context["entries"]
    changes = {change.what: (change.before, change.after) for change in second.changes}
    assert changes == {"Replicas": (1, 2), "Loud": (None, True), "Speed": (5, None)}
    assert (second.undeployed.by, first.undeployed.by) == (person, None)
    assert [run.code for run in second.runs] == ["redeploy_asked"]
    assert second.took is not None


def test_the_history_knows_ends_that_lie_behind_very_many_events(
    deployment: Deployment, person: User, browser: Client
) -> None:
    start = timezone.now() - timedelta(days=9)

    def event(code: str, hours: int, **given: object) -> Event:
        made = Event.objects.create(deployment=deployment, code=code, message=code, **given)
        Event.objects.filter(pk=made.pk).update(at=start + timedelta(hours=hours))
        return made

    def version(number: int, hours: int, ended: int) -> None:
        times = {"ready_at": start + timedelta(hours=hours), "ended_at": start + timedelta(hours=ended)}
        given = {"deployment": deployment, "number": number, "outcome": "succeeded", **times}
        Version.objects.update_or_create(deployment=deployment, number=number, defaults=given)

    version(1, hours=1, ended=2)
    version(2, hours=2, ended=4)
    event("deploy_asked", 0, detail={"version": 1})
    event("deployed", 1)
    event("deployed", 2)
    event("undeploy_asked", 3, by=person)
    event("stopped", 4)
    Event.objects.bulk_create(Event(deployment=deployment, code=code, message="…")
                              for code in ("undeploy_asked", "stopped") * 300)  # fmt: skip
    second, first = browser.get(url(deployment, "history")).context["entries"]
    assert (second.undeployed.by, second.undeployed.asked_at) == (person, start + timedelta(hours=3))
    assert (first.undeployed.by, "newer version" in first.undeployed.why) == (None, True)
    assert [run.code for run in first.runs] == ["deploy_asked"]


def test_a_newer_version_that_failed_is_told_while_the_old_one_serves(
    make: Make, person: User, browser: Client
) -> None:
    made = make("kept")
    operations.deploy(made, by=person)
    settle(made, status("deployed"))
    operations.redeploy(made, by=person, options={"fault": "exit_permanent"})
    settle(made, lambda found: found.status == "deployed" and found.target_version == found.live_version)
    card = browser.get(url(made, "events")).context["trouble"]
    assert card.serving
    assert (card.code, "can't load this model" in card.message) == ("bad_model", True)
    assert "Re-trigger" not in [button.label for button in card.buttons]


def test_events_are_filtered_and_searched(browser: Client, deployment: Deployment, person: User) -> None:
    Event.objects.create(deployment=deployment, code="engine_died", message="It ended with code 7.")
    trouble = browser.get(url(deployment, "events"), {"kind": "trouble"}).context["events"]
    assert [event.code for event, _, _ in trouble] == ["engine_died"]
    people = browser.get(url(deployment, "events"), {"kind": "people"}).context["events"]
    assert [event.by for event, _, _ in people] == [person]
    assert len(browser.get(url(deployment, "events"), {"q": "CODE 7"}).context["events"]) == 1
    assert b"No event is like that" in browser.get(url(deployment, "events"), {"q": "nowhere"}).content


def test_events_are_a_table_for_a_spreadsheet(browser: Client, deployment: Deployment, person: User) -> None:
    Event.objects.create(deployment=deployment, code="x", message="=1+1", by=person, detail={"a": 1})
    answer = browser.get(url(deployment, "events"), {"kind": "people", "as": "csv"})
    lines = list(csv.reader(io.StringIO(b"".join(answer).decode())))
    assert answer["Content-Disposition"] == f'attachment; filename="events-{deployment.pk}.csv"'
    assert lines[0][:3] == ["at", "by", "code"]
    assert lines[1][1:3] + lines[1][5:] == ["anna", "x", "'=1+1", "", '{"a": 1}']
    assert [line[2] for line in lines[1:]] == ["x", "created"]


@pytest.mark.parametrize("tab", ["usage", "logs", "captures"])
def test_an_open_page_asks_for_no_more_than_can_change(browser: Client, deployment: Deployment, tab: str) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert browser.get(url(deployment, tab), headers=PARTS).status_code == 200
    said = " ".join(each["sql"] for each in asked)
    assert "deployments_usage" not in said
    assert "deployments_capture" not in said
    assert "deployments_replica" not in said


def test_two_people_who_change_the_same_value_are_told(browser: Client, deployment: Deployment) -> None:
    page = url(deployment, "configuration")
    sent = {"description": "mine", "initial-description": "", "tags": "", "initial-tags": "", "capture_days": "7",
            "initial-capture_days": "7", **{name: "" for name in LIMITS}}  # fmt: skip
    berta = User.objects.create_user("berta")
    operations.edit(deployment, by=berta, description="theirs")
    answer = browser.post(page, sent)
    told = answer.content.decode()
    assert answer.status_code == 200
    for word in ("Somebody else has changed this meanwhile", "theirs", "mine", "berta"):
        assert word in told
    deployment.refresh_from_db()
    assert deployment.description == "theirs"
    again = {**sent, "initial-description": "theirs"}
    assert 'name="initial-description"' in told
    assert browser.post(page, again).status_code == 302
    deployment.refresh_from_db()
    assert deployment.description == "mine"


def record(deployment: Deployment, at: object, **given: object) -> UsageRecord:
    usual = {"request_id": "r", "account": "a", "deployment_name": "chat", "path": "/v1/x", "status": 200}
    return UsageRecord(deployment_id=deployment.pk, at=at, **{**usual, **given})  # type: ignore[arg-type]


def test_the_last_hour_is_counted_from_the_calls(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(added_at=timezone.now() - timedelta(days=40))
    deployment.refresh_from_db()
    at = timezone.now() - timedelta(minutes=10)
    calls = [record(deployment, at, duration_ms=float(n), first_byte_ms=n / 2, streamed=True) for n in range(1, 101)]
    calls.append(record(deployment, at, status=500))
    calls.append(record(deployment, at, status=429, error="rate_limited"))
    UsageRecord.objects.bulk_create(calls)
    found = timeline(deployment, WINDOWS["1h"])
    (step,) = [step for step in found.steps if step.requests]
    assert (step.requests, step.errors, step.limited) == (102, 1, 1)
    assert (step.latency_50, step.latency_95, step.ttft_50) == (50, 95, 25)
    assert [step.latency_50 for step in found.steps].count(None) == len(found.steps) - 1


def test_charts_say_when_they_were_read(browser: Client, deployment: Deployment) -> None:
    page = browser.get(url(deployment, "metrics"), {"window": "24h"})
    read = page.context["as_of"]
    assert f'As of <time datetime="{read.isoformat()}"' in page.content.decode()
    assert '<a class="my-link" href="?window=24h">Refresh</a>' in page.content.decode()
    parts = [browser.get(url(deployment, "metrics"), headers=PARTS) for _ in range(2)]
    assert parts[0]["ETag"] == parts[1]["ETag"]


def test_longer_stretches_come_from_the_sums_with_sampled_percentiles(deployment: Deployment) -> None:
    Deployment.objects.filter(pk=deployment.pk).update(added_at=timezone.now() - timedelta(days=2))
    deployment.refresh_from_db()
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    names = {"account": "a", "deployment_id": deployment.pk, "deployment_name": "chat"}
    UsageHour.objects.create(start=hour, requests=1_000_000, errors=10, prompt_tokens=7, **names)
    UsageRecord.objects.bulk_create(record(deployment, hour, duration_ms=3) for _ in range(SAMPLE + 5))
    found = timeline(deployment, WINDOWS["24h"])
    assert [step.requests for step in found.steps if step.requests] == [1_000_000]
    assert found.sampled
    week = timeline(deployment, WINDOWS["7d"]).steps
    assert (week[0].requests, week[-1].requests is not None) == (None, True)
    assert LAST_HOUR > SAMPLE


def test_restarts_are_counted_when_they_were(deployment: Deployment) -> None:
    Event.objects.create(deployment=deployment, code="engine_died", message="…")
    steps = timeline(deployment, WINDOWS["1h"]).steps
    assert [step.restarts for step in steps if step.restarts] == [1]


def test_a_change_is_told_field_by_field(make: Make) -> None:
    version = make("alone").target_version
    assert version is not None
    assert history.changes(version, version) == []


def test_other_samples_are_a_change(make: Make) -> None:
    made = make("sampled", optimization=Optimization("loud", 0.5, '"one"'))
    first = made.target_version
    assert first is not None
    second = Version(deployment=made, number=2, recipe="loud", threshold=0.5, samples='"two"')
    (change,) = history.changes(first, second)
    assert change.what == "Own samples"
    assert re.fullmatch(r"yes \(SHA-256 [0-9a-f]{12}…\)", change.after)
    assert change.before != change.after


def test_every_replica_that_runs_is_shown_and_its_log_offered(browser: Client, deployment: Deployment) -> None:
    def add(number: int, **given: object) -> None:
        version = deployment.target_version
        Replica.objects.bulk_create(
            Replica(deployment=deployment, version=version, **given)  # type: ignore[misc]
            for _ in range(number)
        )

    add(40, state=ReplicaState.READY, memory=2)
    add(30, state=ReplicaState.ENDED)
    oldest = deployment.replicas.filter(state=ReplicaState.READY).earliest("created_at")
    Event.objects.create(deployment=deployment, code="engine_died", message="Code 7.", detail={"replica": oldest.pk})
    lines = browser.get(url(deployment)).context["lines"]
    assert [(line.row, line.reason) for line in lines if line.reason] == [(oldest, "Code 7.")]
    assert [line.row.state for line in lines] == [ReplicaState.READY] * 40 + [ReplicaState.ENDED] * endpoint.ENDED
    now = browser.get(url(deployment, "metrics")).context["now"]
    assert (now["ready"], now["replicas"], now["memory"], len(now["lines"])) == (40, 40, 80, 40)
    offered = [row.state for row, _ in browser.get(url(deployment, "logs")).context["replicas"]]
    assert (offered.count(ReplicaState.READY), offered.count(ReplicaState.ENDED)) == (40, logs.ENDED)
