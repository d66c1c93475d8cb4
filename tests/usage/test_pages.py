"""Usage in the admin."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.deployments.models import Deployment
from apps.deployments.usage.models import Capture, Gap
from apps.deployments.usage.pages import Period
from modelyard.roles import create_groups
from tests.usage.conftest import row, write

pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # the test client isn't async
ALL = "/admin/usage/"


def person(*permissions: str, group: str = "") -> Client:
    user = User.objects.create(username="anna", is_staff=True, is_superuser=not (permissions or group))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    if group:
        create_groups()
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def tab(deployment: Deployment, name: str = "usage") -> str:
    return reverse(f"admin:deployments_deployment_{name}", args=[deployment.pk])


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.django_db
def test_without_a_call_the_page_says_what_will_be_there() -> None:
    assert "No calls yet" in text(person(), ALL)


def test_the_page_has_totals_deployments_and_keys(deployment: Deployment) -> None:
    now = timezone.now()
    write(row(now, deployment_id=deployment.pk, prompt_tokens=1_234_000), row(now, deployment_name="gone", account=""))
    html = text(person(), ALL)
    for shown in ("1,234,020", "People, without a key", "gone", "(deleted)", f"{tab(deployment)}?period=month", "<svg"):
        assert shown in html


@pytest.mark.django_db
def test_nobody_sees_usage_without_the_permission(deployment: Deployment) -> None:
    client = person("view_deployment")
    assert [client.get(address).status_code for address in (ALL, tab(deployment))] == [403, 403]
    assert ALL not in text(client, tab(deployment, "detail"))
    assert Client().get(ALL).status_code == 302


def test_a_viewer_sees_usage_and_no_captures(deployment: Deployment) -> None:
    Deployment.objects.update(captures=True)
    write(row(timezone.now(), deployment_id=deployment.pk))
    client = person(group="Viewers")
    assert tab(deployment, "captures") not in text(client, tab(deployment))
    assert client.get(tab(deployment, "captures")).status_code == 403


def test_the_tab_says_what_each_key_of_the_deployment_used_this_month(deployment: Deployment) -> None:
    now = timezone.now()
    write(row(now, deployment_id=deployment.pk, prompt_tokens=4321, completion_tokens=0))
    write(row(now, key_name="foreign"), row(now - timedelta(days=40), deployment_id=deployment.pk, key_name="earlier"))
    html = text(person(), tab(deployment))
    keys = html[html.index("By key") : html.index("Latest calls")]
    assert "4,321" in keys
    assert "earlier" not in keys
    assert "foreign" not in html


def test_the_latest_calls_say_how_they_ended(deployment: Deployment) -> None:
    write(row(timezone.now(), deployment_id=deployment.pk, status=429, error="rate_limited", estimated=True,
              request_id="<b>odd</b>", first_byte_ms=None))  # fmt: skip
    html = text(person(), tab(deployment))
    for shown in ("429", "rate_limited", "estimated", "10 + 5", "7.5 ms", "&lt;b&gt;odd", "10.0.0.1"):
        assert shown in html


@pytest.mark.parametrize("period", ["", "month", "last", "today", "30", "nonsense"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_every_stretch_of_time_opens(deployment: Deployment, settings: Settings, period: str, zone: str) -> None:
    settings.TIME_ZONE = zone
    timezone.deactivate()
    now = timezone.now()
    for age in (0, now.day + 2):
        write(row(now - timedelta(days=age), deployment_id=deployment.pk))
    client = person()
    for address in (ALL, tab(deployment)):
        assert "No calls in this time" not in text(client, f"{address}?period={period}")


@pytest.mark.parametrize(
    ("period", "stretch"), [("month", (1, 1, 2, 1)), ("last", (12, 1, 1, 1)), ("30", (12, 3, 1, 2))]
)
def test_months_are_calendar_months(period: str, stretch: tuple[int, ...]) -> None:
    with patch("django.utils.timezone.now", return_value=datetime(2026, 1, 1, 12, tzinfo=UTC)):
        found = Period.of(RequestFactory().get("/", {"period": period}))
    assert (found.start.month, found.start.day, found.end.month, found.end.day) == stretch


def test_tables_leave_as_sheets(deployment: Deployment) -> None:
    write(row(timezone.now(), deployment_id=deployment.pk, key_name="=1+1"))
    client = person()
    for address in (f"{ALL}?as=csv", f"{ALL}?as=csv&by=deployment", f"{tab(deployment)}?as=csv"):
        lines = b"".join(client.get(address)).decode().splitlines()
        assert lines[0].startswith("start,id,name")
        assert deployment.pk in lines[1]
        assert ",=1+1" not in lines[1]


@pytest.mark.django_db
def test_calls_that_the_ledger_lacks_are_told() -> None:
    write(row(timezone.now()))
    client = person()
    assert "missing here" not in text(client, ALL)
    Gap.objects.create(lost=17, reason="killed")
    assert "17 calls are missing here" in text(client, ALL)


def test_a_page_takes_the_same_queries_for_one_key_and_for_thirty(
    deployment: Deployment, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client, now = person(), timezone.now()
    write(row(now, deployment_id=deployment.pk))
    for address in (ALL, tab(deployment)):
        client.get(address)
        with django_assert_max_num_queries(100) as few:
            client.get(address)
        write(*[row(now, deployment_id=deployment.pk, account=f"acc{n}") for n in range(30)])
        with django_assert_max_num_queries(len(few)):
            client.get(address)


def kept(deployment: Deployment, number: int) -> None:
    Capture.objects.create(at=timezone.now(), request_id=f"req-{number}", deployment_id=deployment.pk, status=200,
                           path="/v1/x", request="<script>in</script>", response=f"out {number}")  # fmt: skip


def test_captures_are_shown_newest_first_or_of_one_call(deployment: Deployment) -> None:
    Deployment.objects.update(captures=True)
    for number in range(30):
        kept(deployment, number)
    client = person()
    html = text(client, tab(deployment, "captures"))
    assert "out 29" in html
    assert "out 4<" not in html
    assert "<script>in" not in html
    assert "out 4<" in text(
        client, f"{tab(deployment, 'captures')}?before={Capture.objects.get(request_id='req-5').pk}"
    )
    one = text(client, f"{tab(deployment, 'captures')}?request=req-7")
    assert ("out 7" in one, "out 8" in one) == (True, False)


@pytest.mark.parametrize("captures", [True, False])
def test_captures_are_linked_only_where_a_deployment_keeps_them(deployment: Deployment, captures: bool) -> None:
    Deployment.objects.update(captures=captures)
    write(row(timezone.now(), deployment_id=deployment.pk))
    assert (tab(deployment, "captures") in text(person(), tab(deployment))) == captures
