"""`modelyard demo`: a real model from a zip to an answer, in a running Modelyard."""

import os
import shutil
import time
from datetime import timedelta
from typing import Any

from modelyard import environment
from modelyard.cli import demo_model, output, setup
from modelyard.cli.output import Stop
from modelyard.cli.processes import follow_parent

IMPORT_SECONDS, DEPLOY_SECONDS = 300, 300
KEY_NAME, KEY_DAYS = "demo", 7


def fetch() -> int:
    """Only bring the model's files into the data directory; the exit code."""
    follow_parent()
    demo_model.archive(environment.directory("cache"))
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
    from apps.deployments.models import Deployment

    person = _person()
    deployment = Deployment.objects.filter(name=demo_model.NAME).first()
    if deployment is None:
        model = _imported(person)
        deployment = _deployed(model, person)
    _await_deployed(deployment, person)
    line = _curl(deployment, person, base_url)
    output.plain("")
    output.plain(f"Admin       {base_url}/admin/")
    if login := os.environ.get("MODELYARD_DEMO_LOGIN"):
        output.plain(f"Login       {login}")
    output.plain(f"Deployment  {deployment.name} · {deployment.get_status_display()}")
    output.plain(f"Call it     (the key lives {KEY_DAYS} days; more on the deployment's API Keys page)")
    output.plain(line)


def _person() -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()


def _imported(person: Any) -> Any:
    from apps.models import operations
    from apps.models.models import Model, Status

    model = Model.objects.filter(name=demo_model.NAME).first()
    if model is not None and model.status == Status.IMPORT_FAILED:
        operations.delete(model, by=person)
        model = None
    if model is None:
        started = time.monotonic()
        archive = demo_model.archive(environment.directory("cache"))
        output.step("Demo model fetched (all-MiniLM-L6-v2, int8, 21 MB)", started)
        copy = environment.directory("uploads") / f"{demo_model.NAME}.demo"
        shutil.copyfile(archive, copy)
        description = "The demo: sentence embeddings with 384 dimensions."
        model = operations.import_file(copy, demo_model.NAME, by=person, description=description, tags=["demo"])
    started = time.monotonic()
    _follow(model, lambda: model.status in {Status.READY, Status.IMPORT_FAILED}, IMPORT_SECONDS, _import_line)
    if model.status != Status.READY:
        raise Stop(f"The import failed: {model.failure} {model.next_step}")
    output.step(f"{model.name} imported and checked", started)
    return model


def _deployed(model: Any, person: Any) -> Any:
    from apps.deployments import operations

    return operations.create(
        model=model, name=model.name, runtime="onnx", by=person, tags=["demo"], description=model.description
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
            return operations.curl(deployment, key, base_url)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > end:
            raise Stop(f"The deployment answered {answer.status_code}: {answer.text[:300]}")
        time.sleep(0.3)
