"""`modelyard demo`: real models from a zip to an answer, in a running Modelyard.

The second one, a chat model, is there where a runtime for it is installed; without it the first one does.
"""

import os
import shutil
import time
from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any

from modelyard import environment
from modelyard.cli import output, setup
from modelyard.cli.demo_model import CHAT, EMBEDDINGS, DemoModel
from modelyard.cli.output import Stop
from modelyard.cli.processes import follow_parent

IMPORT_SECONDS, DEPLOY_SECONDS = 300, 300
KEY_NAME, KEY_DAYS = "demo", 7


def fetch() -> int:
    """Only bring the models' files into the data directory; the exit code."""
    follow_parent()
    EMBEDDINGS.archive(environment.directory("cache"))
    if entry_points(group="modelyard.runtimes", name=CHAT.runtime):
        CHAT.archive(environment.directory("cache"))
    return 0


def run(base_url: str) -> int:
    """Import, deploy, make a key, call it; the exit code."""
    follow_parent()
    setup.prepare_django()
    from django.db import DatabaseError
    from httpx import HTTPError
    from redis.exceptions import RedisError

    from modelyard.problems import Problem

    base_url = base_url or f"http://127.0.0.1:{environment.number('PORT', 8000)}"
    try:
        _demo(base_url)
    except (Stop, Problem, OSError, DatabaseError, RedisError, HTTPError) as problem:
        output.fail(f"The demo: {problem}")
        output.note(f"Modelyard itself runs; try the demo again with: {setup.command_line('demo')}")
        return 1
    return 0


def _demo(base_url: str) -> None:
    person = _person()
    line = _line(EMBEDDINGS, person, base_url)
    output.plain("")
    output.plain(f"Admin       {base_url}/admin/")
    if login := os.environ.get("MODELYARD_DEMO_LOGIN"):
        output.plain(f"Login       {login}")
    output.plain(f"Deployment  {EMBEDDINGS.name} · Deployed")
    output.plain(f"Call it     (the key lives {KEY_DAYS} days; more on the deployment's API Keys page)")
    output.plain(line)
    _chat(person, base_url)


def _chat(person: Any, base_url: str) -> None:
    """The second model; what goes wrong with it is told, and spoils nothing."""
    from modelyard.problems import Problem

    if not entry_points(group="modelyard.runtimes", name=CHAT.runtime):
        return
    output.plain("")
    try:
        line = _line(CHAT, person, base_url)
    except (Stop, Problem) as problem:
        output.note(f"Without the chat model: {problem}")
        return
    output.plain(f"Deployment  {CHAT.name} · Deployed")
    output.plain("Chat        (the answer comes as a stream)")
    output.plain(line)


def _line(demo: DemoModel, person: Any, base_url: str) -> str:
    """Import and deploy it, unless that was done; a cURL that was tried."""
    from apps.deployments.models import Deployment

    deployment = Deployment.objects.filter(name=demo.name).first()
    if deployment is None:
        deployment = _deployed(demo, _imported(demo, person), person)
    _await_deployed(deployment, person)
    return _curl(deployment, person, base_url)


def _person() -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()


def _imported(demo: DemoModel, person: Any) -> Any:
    from apps.models import operations
    from apps.models.models import Model, Status

    model = Model.objects.filter(name=demo.name).first()
    if model is not None and model.status == Status.IMPORT_FAILED:
        operations.delete(model, by=person)
        model = None
    if model is None:
        started = time.monotonic()
        archive = demo.archive(environment.directory("cache"))
        output.step(f"Demo model fetched ({demo.fetched})", started)
        copy = environment.directory("uploads") / f"{demo.name}.demo"
        shutil.copyfile(archive, copy)
        model = operations.import_file(copy, demo.name, by=person, description=demo.description, tags=["demo"])
    started = time.monotonic()
    _follow(model, lambda: model.status in {Status.READY, Status.IMPORT_FAILED}, IMPORT_SECONDS, _import_line)
    if model.status != Status.READY:
        raise Stop(f"The import failed: {model.failure} {model.next_step}")
    output.step(f"{model.name} imported and checked", started)
    return model


def _deployed(demo: DemoModel, model: Any, person: Any) -> Any:
    from apps.deployments import operations

    return operations.create(
        model=model, name=model.name, runtime=demo.runtime, by=person, tags=["demo"], description=model.description
    )


def _await_deployed(deployment: Any, person: Any) -> None:
    from apps.deployments import operations
    from apps.deployments.statuses import RETRIGGERABLE, Status

    started = time.monotonic()
    deployment.refresh_from_db()
    if deployment.status == Status.READY_TO_DEPLOY:
        operations.deploy(deployment, by=person)
    elif deployment.status in RETRIGGERABLE:
        operations.retrigger(deployment, by=person)
    settled = {Status.DEPLOYED, Status.FAILED, Status.STOPPED}

    def done() -> bool:
        # Right after a start the row still says Deployed of engines that ended with the last run: ask for a real one.
        return deployment.status in settled and (deployment.status != Status.DEPLOYED or _answers(deployment))

    _follow(deployment, done, DEPLOY_SECONDS, _deploy_line)
    if deployment.status != Status.DEPLOYED:
        raise Stop(f"The deployment is {deployment.get_status_display()}: {deployment.failure} {deployment.next_step}")
    output.step(f"{deployment.name} deployed; its engine answered a real request", started)


def _answers(deployment: Any) -> bool:
    from apps.deployments.statuses import ReplicaState
    from modelyard import launchers
    from modelyard.launchers import ProcessState

    ready = deployment.replicas.filter(state=ReplicaState.READY)
    launcher = launchers.default()
    return any(launcher.observe(replica.pk).state == ProcessState.RUNNING for replica in ready)


def _follow(row: Any, done: Any, limit: float, line: Any) -> None:
    """Wait, and say what is happening whenever that changes."""
    end = time.monotonic() + limit
    said = ""
    while True:
        row.refresh_from_db()
        if done():
            return
        if time.monotonic() > end:
            raise Stop(f"{row} isn't there after {limit} s. {line(row)}. Look at its page, and run modelyard doctor.")
        if line(row) != said:
            said = line(row)
            output.note(said)
        time.sleep(0.1)


def _import_line(model: Any) -> str:
    return f"{model.get_status_display()}: {model.stage or 'waiting for the importer'}"


def _deploy_line(deployment: Any) -> str:
    return f"{deployment.get_status_display()}: {deployment.stage or 'looking at the engine'}"


def _curl(deployment: Any, person: Any, base_url: str) -> str:
    """A line with a fresh key that was really tried."""
    import httpx
    from django.utils import timezone

    from apps.apikeys import operations as apikeys
    from apps.deployments import operations, runtimes

    apikeys.forget(deployment=deployment, name_prefix=KEY_NAME)
    expires_at = timezone.now() + timedelta(days=KEY_DAYS)
    _, key = apikeys.create(deployment=deployment, name=f"{KEY_NAME} {timezone.now():%Y-%m-%d %H:%M}", by=person,
                            expires_at=expires_at)  # fmt: skip
    version = deployment.target_version
    runtime = runtimes.get(deployment.runtime)
    options = runtimes.options_of(runtime, version.options)
    sample = runtime.sample(runtimes.as_contract(deployment.model), options, deployment.name)
    end = time.monotonic() + 30
    while True:
        answer = httpx.request(
            sample.method, f"{base_url}/d/{deployment.pk}{sample.path}", json=dict(sample.body),
            headers={"Authorization": f"Bearer {key}"}, timeout=60,
        )  # fmt: skip
        if answer.status_code == httpx.codes.OK:
            return operations.curl(deployment, key, base_url, stream=True)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > end:
            raise Stop(f"The deployment answered {answer.status_code}: {answer.text[:300]}")
        time.sleep(0.3)
