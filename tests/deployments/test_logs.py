"""The log as people see it: without secrets and control codes, with the levels that lines name."""

import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from apps.deployments import logs, operations
from apps.deployments.masking import MASK, masked
from apps.deployments.models import Deployment, Replica
from apps.deployments.reconciler.engines import engine_secret
from modelyard import launchers
from tests.deployments.conftest import Make, only_replica, settle, status

pytestmark = pytest.mark.django_db
Said = Callable[[str], Replica]


@pytest.fixture
def deployment(make: Make, person: User) -> Deployment:
    made = make()
    operations.deploy(made, by=person)
    return settle(made, status("deployed"))


@pytest.fixture
def replica(deployment: Deployment) -> Replica:
    return only_replica(deployment)


@pytest.fixture
def browser(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def say(replica: Replica, text: str) -> None:
    """Print it, as far as a reader of the log can tell."""
    path = launchers.default().workdir(replica.pk).parent / "engine.log"
    with path.open("ab") as log:
        log.write(text.encode())


def lines(browser: Client, deployment: Deployment, **asked: str) -> dict[str, object]:
    answer = browser.get(reverse("admin:deployments_deployment_log_lines", args=[deployment.pk]), asked)
    assert answer.status_code == 200
    found = answer.json()
    assert isinstance(found, dict)
    return found


def test_what_is_new_comes_after_the_cursor(browser: Client, deployment: Deployment, replica: Replica) -> None:
    first = lines(browser, deployment)
    assert "echo: ready" in str(first["lines"])
    say(replica, "one\ntwo\nthr")
    more = lines(browser, deployment, after=str(first["cursor"]))
    assert [line["text"] for line in more["lines"]] == ["one", "two"]  # type: ignore[attr-defined]
    assert more["rest"] == "thr"


def test_no_secret_is_shown_found_or_downloaded(browser: Client, deployment: Deployment, replica: Replica) -> None:
    secret = engine_secret(replica)
    say(replica, f"started with {secret}\nHF_TOKEN=hf_abcdefghij1234567890\nhttp://joe:pass-word@proxy:3128/\n")
    page = browser.get(reverse("admin:deployments_deployment_logs", args=[deployment.pk])).content.decode()
    sent = "".join(logs.download(logs.Source(replica)))
    for text in (page, sent, str(lines(browser, deployment))):
        assert MASK in text
        for hidden in (secret, "hf_abcdefghij", "pass-word"):
            assert hidden not in text
    assert lines(browser, deployment, q=secret[:20])["lines"] == []
    assert lines(browser, deployment, q="started with")["lines"] != []
    assert secret not in str(logs.clean_tail(deployment, 50))


@pytest.mark.parametrize("text", [
    "EOS token = 151643 '<|endoftext|>'", "tokens per second: 12.5", "INFO secret service started",
    "max_token: 4096", "hash 0123456789abcdef",
])  # fmt: skip
def test_what_engines_print_all_the_time_is_no_secret(text: str) -> None:
    assert masked(text) == text


def test_levels_are_those_that_a_line_names(deployment: Deployment, replica: Replica) -> None:
    say(
        replica,
        "INFO:     listening\n2026-01-01 10:00:00,1 WARNING low memory\n(Core pid=1) ERROR 01-01 it broke\n"
        "this INFORMATION is no level\nan ERRORLESS run\n0.41.995.210 W slot is full\nno level, said the error\n",
    )
    shown = logs.tail(logs.Source(replica))["lines"][-7:]
    assert [line["level"] for line in shown] == ["info", "warn", "error", "", "", "warn", ""]


def test_colours_and_progress_bars_become_plain_text(deployment: Deployment, replica: Replica) -> None:
    say(replica, "\x1b[32mgreen\x1b[0m\r\nloading 10%\rloading 100%\nbell\x07\n" + "x" * 9000 + "\n")
    shown = [line["text"] for line in logs.tail(logs.Source(replica))["lines"][-4:]]
    assert shown[:3] == ["green", "loading 100%", "bell"]
    assert len(shown[3]) < 4100
    assert shown[3].endswith("[+5000]")


def test_a_restart_has_a_log_of_its_own(browser: Client, deployment: Deployment, replica: Replica) -> None:
    say(replica, "of the first\n")
    launchers.default().stop(replica.pk, now=True)
    while launchers.default().observe(replica.pk).state == "running":
        time.sleep(0.05)
    settle(deployment, lambda found: only_replica(found).launches == 2 and found.status == "deployed")
    replica.refresh_from_db()
    assert logs.starts(logs.Source(replica)) == [2, 1]
    second = lines(browser, deployment, start="2")
    assert "of the first" not in str(second["lines"])
    assert "of the first" in str(lines(browser, deployment, start="1")["lines"])
    assert lines(browser, deployment, start="2", q="of the first")["lines"] == []


def test_nobody_reads_a_log_without_the_permission(deployment: Deployment, replica: Replica) -> None:
    stranger = User.objects.create_user("otto", is_staff=True)
    client = Client()
    client.force_login(stranger)
    url = reverse("admin:deployments_deployment_log_lines", args=[deployment.pk])
    assert client.get(url).status_code == 403
    stranger.user_permissions.add(Permission.objects.get(codename="view_deployment"))
    assert client.get(url).status_code == 200
    assert client.get(url, {"replica": "rep_ofsomebodyelse"}).status_code == 404
