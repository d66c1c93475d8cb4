"""A model that is chosen in the wizard, and another one after it: what each brings, and what goes with it."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from apps.deployments.models import Deployment
from apps.models.deployconfig import reading
from apps.models.deployconfig.schema import DeployConfig, Optimization, Scaling
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from tests.deployments.test_optimization_api import client_of
from tests.deployments.walking import Walk

LOUD, SPEED = "option__echo__loud", "option__echo__words_per_second"
FIRST = DeployConfig(
    version=1, runtime="echo", options={"loud": True, "words_per_second": 7.5}, description="Two\nlines.", tags=("a",),
    optimization=Optimization(recipe="loud", threshold=0.5), scaling=Scaling(replicas=3, ready_seconds=77),
)  # fmt: skip


@pytest.fixture
def model(db: None) -> Model:
    made = Model.objects.create(name="first", status=ModelStatus.READY, format=Format.ONNX, licence="mit")
    reading.keep(made.pk, FIRST)
    return made


@pytest.fixture
def other(db: None) -> Model:
    return Model.objects.create(name="second", status=ModelStatus.READY, format=Format.ONNX, licence="gpl-3.0")


@pytest.fixture
def walk(model: Model, person: User) -> Walk:
    return Walk(client_of("Deployers"), model=model)


def switch(walk: Walk, other: Model, **values: Any) -> Any:
    """Choose another model, as a browser sends it: lines end as they do in HTTP."""
    shown = walk.fields("general")["description"].replace("\n", "\r\n")
    return walk.send("general", **{"model": other.pk, "name": "mine", "description": shown, **values})


def test_another_model_without_a_configuration_keeps_nothing_of_the_first_ones(walk: Walk, other: Model) -> None:
    walk.to_review()
    assert switch(walk, other).status_code == 302
    assert walk.see("general").context["form"]["description"].value() in (None, "")
    assert (walk.fields("general").get("runtime"), walk.fields("general").get("tags")) == (None, None)
    assert "recipe" not in walk.fields("optimization")
    assert LOUD not in walk.fields("parameters")
    assert walk.fields("hardware") == {"replicas": "1"}


def test_another_models_configuration_takes_the_place_of_the_first_ones(walk: Walk, other: Model) -> None:
    reading.keep(other.pk, DeployConfig(version=1, runtime="echo", options={"words_per_second": 2.0}))
    walk.send("general")
    switch(walk, other)
    assert walk.fields("parameters")[SPEED] == "2.0"
    assert LOUD not in walk.fields("parameters")
    assert walk.fields("hardware") == {"replicas": "1"}


def test_what_somebody_typed_stays_with_another_model(walk: Walk, other: Model) -> None:
    walk.send("general")
    walk.send("optimization")
    walk.send("parameters", **{SPEED: "9"})
    walk.send("hardware", "back", ready_seconds="", replicas="4")
    switch(walk, other, tags="mine")
    assert walk.fields("parameters")[SPEED] == "9"
    assert walk.fields("hardware") == {"replicas": "4"}
    assert walk.fields("general")["tags"] == "mine"


def test_what_somebody_emptied_stays_empty_however_often_the_step_is_left(other: Model, person: User) -> None:
    walk = Walk(client_of("Deployers"), model=other)
    walk.send("general", runtime="echo")
    walk.send("optimization", threshold="")
    walk.send("general", "next")
    assert walk.draft.values["threshold"] == ""


def test_a_runtime_that_the_first_model_brought_does_not_stop_another(walk: Walk, other: Model) -> None:
    Model.objects.filter(pk=other.pk).update(format=Format.GGUF)
    reading.keep(other.pk, DeployConfig(version=1, runtime="vllm"))
    first = Walk(walk.client, model=other)
    answer = first.send("general", model=walk.draft.values["model"], name="mine")
    assert answer.status_code == 302, answer.context["summary"]
    assert first.fields("general")["runtime"] == "echo"


def test_the_licence_of_another_model_is_asked_for_again(walk: Walk, other: Model) -> None:
    walk.to_review()
    walk.send("review", "back", accepted="on")
    assert walk.fields("review")["accepted"] == "on"
    walk.send("general", description="Mine.")
    assert walk.fields("review")["accepted"] == "on"
    switch(walk, other)
    walk.to_review()
    assert "gpl-3.0" in walk.see("review").content.decode()
    assert "accepted" not in walk.fields("review")
    assert "This field is required" in walk.send("review", "save").content.decode()
    assert not Deployment.objects.exists()


def test_deploy_with_it_on_the_fit_tab_chooses_the_runtime(other: Model, person: User) -> None:
    client = client_of("Platform admins")
    page = client.get(reverse("admin:deployments_deployment_model_fit", args=[other.pk])).content.decode()
    found = re.search(r'href="([^"]+runtime=echo)"', page)
    assert found
    begun = client.get(found[1].replace("&amp;", "&"), follow=True)
    assert begun.context["form"]["runtime"].value() == "echo"
    assert begun.context["wizard"].model == other


@pytest.mark.parametrize(("asked", "runtime", "recipe"), [("onnx", "onnx", ""), ("nothing", "echo", "loud")])
def test_a_runtime_in_the_address_is_taken_if_it_is_known(
    model: Model, person: User, asked: str, runtime: str, recipe: str
) -> None:
    address = reverse("admin:deployments_deployment_add")
    values = (
        client_of("Deployers").get(address, {"model": model.pk, "runtime": asked}, follow=True).context["draft"].values
    )
    assert (values["runtime"], values.get("recipe", "")) == (runtime, recipe)


def test_the_description_is_stored_as_every_other_is(other: Model, person: User) -> None:
    walk = Walk(client_of("Deployers"), model=other)
    long = walk.send("general", name="mine", description="x" * 10_001)
    assert "Keep it to 10,000 characters" in long.content.decode()
    walk.finish("save", name="mine", runtime="echo", description="One\r\ntwo.")
    assert Deployment.objects.get().description == "One\ntwo."
