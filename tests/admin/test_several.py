"""Doing one thing to several deployments: what is said before, and what is done."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.deployments import bulk, operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import Status
from modelyard.problems import Problem
from tests.admin.test_pages import LIST, model, person, put  # noqa: F401 (fixtures)


@pytest.fixture
def three(model) -> list[Deployment]:  # noqa: F811
    """A failed, a deployed and a new one."""
    made = [operations.create(model=model, name=name, runtime="echo", by=None) for name in ("a", "b", "c")]
    put(made[0], Status.FAILED)
    put(made[1], Status.DEPLOYED)
    return made


def choose(client: Client, action: str, deployments: list[Deployment]) -> str:
    chosen = {"action": action, "_selected_action": [each.pk for each in deployments]}
    return str(client.post(LIST, chosen).content.decode())


def do(client: Client, verb: str, deployments: list[Deployment], **more: str) -> str:
    sent = {"id": [each.pk for each in deployments], **more}
    return str(client.post(f"{LIST}bulk/{verb}/", sent, follow=True).content.decode())


def test_it_says_which_will_be_done_and_which_are_skipped_and_why(three: list[Deployment]) -> None:
    html = choose(person(), "retrigger", three)
    assert "It will be done to 1 deployment." in html
    assert "b: it is Deployed" in html
    assert "c: it is Ready to Deploy" in html
    assert Deployment.objects.filter(status=Status.DEPLOYING).count() == 0


def test_it_is_done_to_those_that_it_can_be_done_to(three: list[Deployment]) -> None:
    html = do(person(), "retrigger", three)
    assert "1 deployment is being deployed again." in html
    assert "2 were skipped" in html
    assert [each.status for each in Deployment.objects.order_by("name")] == ["deploying", "deployed", "ready_to_deploy"]


def test_a_tag_is_added_and_removed(three: list[Deployment]) -> None:
    client = person()
    assert "The tag was added to 3 deployments." in do(client, "tag", three, tag="eu")
    assert Deployment.objects.get(name="b").tags == ["eu"]
    assert "1 was skipped" in do(client, "tag", three[:1], tag="eu")
    assert "The tag was removed from 3 deployments." in do(client, "untag", three, tag="eu")
    assert "there was no tag" in do(client, "tag", three)


@pytest.mark.parametrize(("verb", "before"), [("tag", []), ("untag", ["eu"])])
def test_tags_that_somebody_changed_meanwhile_stay(three: list[Deployment], verb: str, before: list[str]) -> None:
    Deployment.objects.update(tags=before)
    read = list(Deployment.objects.filter(name__in="ab").order_by("name"))
    operations.edit(three[1], by=None, tags=["theirs"])
    done = bulk.run(bulk.VERBS[verb], read, by=User.objects.create(username="berta"), tag="eu")
    assert [each.name for each in done.doing] == ["a"]
    ((skipped, why),) = done.skipped
    assert (skipped.name, "Somebody else has changed the tags meanwhile." in why) == ("b", True)
    assert Deployment.objects.get(name="b").tags == ["theirs"]


def test_what_is_sent_twice_is_done_once(three: list[Deployment]) -> None:
    client = person()
    do(client, "delete", three[:1], form_id="x")
    assert "That was done already" in do(client, "delete", three[2:], form_id="x")
    assert Deployment.objects.count() == 2


def test_a_viewer_is_offered_nothing_and_refused(three: list[Deployment]) -> None:
    client = person("Viewers")
    assert 'name="action"' not in client.get(LIST).content.decode()
    for verb in ("retrigger", "deploy", "undeploy", "delete", "tag", "untag"):
        assert client.post(f"{LIST}bulk/{verb}/", {"id": three[0].pk, "tag": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status__exact=failed", "a"), ("tag=eu", "c"), ("runtime__exact=echo", "abc"), ("runtime__exact=onnx", ""),
        ("added_by__id__exact=nobody", "abc"), ("added_at_from=2000-01-01&added_at_to=2000-01-02", ""),
        ("added_at_from=2000-01-01", "abc"), ("added_at_from=soon", "abc"), ("q=tiny", "abc"), ("q=zzz", ""),
    ],
)  # fmt: skip
def test_the_list_is_filtered(three: list[Deployment], query: str, names: str) -> None:
    operations.edit(three[2], by=None, tags=["eu"])
    shown = person().get(f"{LIST}?{query}").context_data["cl"].result_list
    assert sorted(each.name for each in shown) == list(names)


def test_an_empty_list_says_what_to_do(three: list[Deployment]) -> None:
    client = person()
    assert "Clear search and filters" in client.get(f"{LIST}?q=zzz").content.decode()
    Deployment.objects.all().delete()
    assert "No deployments yet" in client.get(LIST).content.decode()


def test_what_was_deleted_meanwhile_does_not_hold_up_the_others(three: list[Deployment]) -> None:
    who = User.objects.get_or_create(username="who")[0]
    other = operations.create(model=three[0].model, name="d", runtime="echo", by=None)
    for each in (three[0], other):
        put(each, Status.FAILED)
    chosen = list(Deployment.objects.filter(pk__in=[three[0].pk, other.pk]).order_by("name"))
    Deployment.objects.filter(pk=three[0].pk).delete()
    done = bulk.run(bulk.VERBS["retrigger"], chosen, by=who)
    assert [each.name for each in done.doing] == ["d"]
    assert "doesn't exist any more" in done.skipped[0][1]
    for verb in (operations.retrigger, operations.redeploy, operations.undeploy, operations.accept):
        with pytest.raises(Problem, match="doesn't exist any more"):
            verb(chosen[0], by=who)
