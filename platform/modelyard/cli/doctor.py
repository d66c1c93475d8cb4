"""`modelyard doctor`: looks at an installation from outside, and says what to mend."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import click

from modelyard.cli import output


@dataclass(frozen=True)
class Finding:
    """One line: `level` is ok, warn or fail."""

    level: str
    subject: str
    text: str
    mend: str = ""


def run(*, as_json: bool) -> int:
    """Print every finding; 1 if something fails."""
    from modelyard.cli import setup

    setup.prepare_django()
    findings = list(examine())
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            _print(finding)
    return int(any(finding.level == "fail" for finding in findings))


def examine() -> Iterator[Finding]:
    """Every finding, in the order people would look."""
    parts = (
        _python, _checks, _disk, _secret, _address, _database, _redis, _workers, _gateway, _runtimes, _engines,
    )  # fmt: skip
    for part in parts:
        yield from part()


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 12)
    yield Finding("ok" if good else "fail", "python", version, "" if good else "Use Python 3.12 or newer.")


def _checks() -> Iterator[Finding]:
    from django.conf import settings
    from django.core import checks

    messages = checks.run_checks()
    if _exposed():
        known = {message.id for message in messages}
        deploy = checks.run_checks(tags=["modelyard"], include_deployment_checks=True)
        messages += [message for message in deploy if message.id not in known]
    for message in messages:
        level = "fail" if message.level >= checks.ERROR else "warn"
        yield Finding(level, str(message.id), str(message.msg), str(message.hint or ""))
    if not messages:
        yield Finding("ok", "settings", f"no misconfiguration; data in {settings.DATA_DIR}")


def _exposed() -> bool:
    """Others than this machine's own people may reach the address."""
    from django.conf import settings

    from modelyard import environment

    loopback = environment.text("HOST", "127.0.0.1") in {"127.0.0.1", "::1", "localhost"}
    return not loopback or bool(settings.PUBLIC_URL) or environment.flag("BEHIND_TLS_PROXY")


def _disk() -> Iterator[Finding]:
    """How much is free; too little is one of the checks."""
    import shutil

    from django.conf import settings

    free = shutil.disk_usage(settings.DATA_DIR).free
    yield Finding("ok", "disk", f"{free / 2**30:.1f} GiB free")


def _address() -> Iterator[Finding]:
    """Either Modelyard answers on the web port, or the port is free for it."""
    import httpx

    from modelyard import environment
    from modelyard.cli import setup

    host, port = environment.text("HOST", "127.0.0.1"), environment.number("PORT", 8000)
    local = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 (compared, not bound)
    try:
        answer = httpx.get(f"http://{f'[{local}]' if ':' in local else local}:{port}/healthz", timeout=5)
        if answer.text == "ok\n":
            yield Finding("ok", "web", f"answers on port {port}")
            return
    except (httpx.HTTPError, httpx.InvalidURL):
        pass  # said by the attempt to listen
    try:
        setup.listen(host, port).close()
    except output.Stop as stop:
        yield Finding("fail", "web", "doesn't answer, and can't be started", str(stop))
    else:
        yield Finding("warn", "web", f"doesn't answer on port {port}, which is free", "Run `modelyard up`.")


def _secret() -> Iterator[Finding]:
    from django.conf import settings

    path = settings.DATA_DIR / "secret_key"
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("fail", "secret key", f"others may read {path}", f"chmod 600 {path}")
    else:
        yield Finding("ok", "secret key", "kept from others")


def _database() -> Iterator[Finding]:
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        left = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding("fail", "database", " ".join(str(error).split())[:200], "Check MODELYARD_DATABASE_URL.")
        return
    if left:
        yield Finding("fail", "database", f"{len(left)} migrations aren't applied", "Run: modelyard migrate")
        return
    yield Finding("ok", "database", f"{connection.vendor}, up to date")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            mend = "Move the data directory to a local disk: SQLite needs shared memory for its write-ahead log."
            yield Finding("fail", "database", f"the journal mode is {mode}, not WAL", mend)


def _redis() -> Iterator[Finding]:
    import redis

    from modelyard import changes, environment

    try:
        with changes.connection() as client:
            info = client.info()
    except redis.RedisError as error:
        mend = "Run `modelyard up`, or check MODELYARD_REDIS_URL."
        yield Finding("fail", "redis", f"doesn't answer ({error})", mend)
        return
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info.get('redis_version', '?')}"
    kind = "external" if environment.text("REDIS_URL") else "the one of modelyard up"
    yield Finding("ok", "redis", f"{name} answers, {kind}")
    if int(info.get("maxmemory") or 0) and info.get("maxmemory_policy") != "noeviction":
        mend = "Set maxmemory-policy noeviction: tasks and revocations are among what it throws away."
        yield Finding("warn", "redis", f"evicts keys when full ({info.get('maxmemory_policy')})", mend)
    if not int(info.get("aof_enabled") or 0):
        mend = "Set appendonly yes. Without it tasks are lost in a restart; beat asks for them again."
        yield Finding("warn", "redis", "keeps nothing over a restart", mend)


def _workers() -> Iterator[Finding]:
    from modelyard import health

    problem = health.workers()
    yield Finding("fail" if problem else "ok", "workers", problem or "beat and a worker are at work")


def _gateway() -> Iterator[Finding]:
    from apps.deployments.monitoring import troubles

    found = troubles.troubles()
    for trouble in found:
        yield Finding("warn", trouble.subject, f"{trouble.title} {trouble.message}", trouble.mend)
    if all(trouble.subject != "gateway" for trouble in found):
        yield Finding("ok", "gateway", "hears Redis, and lost no call of the last day")


def _runtimes() -> Iterator[Finding]:
    from apps.deployments import runtimes

    for entry in runtimes.registry().values():
        if entry.runtime is None:
            yield Finding("warn", f"runtime {entry.name}", entry.problem, f"Mend or upgrade {entry.distribution}.")
        else:
            yield Finding("ok", f"runtime {entry.name}", f"{entry.title}, {entry.distribution} {entry.version}")
    yield from _onnx_interpreter()


def _onnx_interpreter() -> Iterator[Finding]:
    """The interpreter of ONNX engines can import what they need; asked in that interpreter, never imported here."""
    import subprocess

    python = os.environ.get("MODELYARD_ONNX_PYTHON") or sys.executable
    try:
        code = "import onnxruntime, numpy, tokenizers, uvicorn; print(onnxruntime.__version__)"
        env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("warn", "onnx engine", f"{python} can't be run ({error})", "Set MODELYARD_ONNX_PYTHON.")
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        mend = f"Run: {python} -m pip install 'modelyard[onnx]', or set MODELYARD_ONNX_PYTHON to another interpreter."
        yield Finding("warn", "onnx engine", last, mend)
    else:
        yield Finding("ok", "onnx engine", f"onnxruntime {done.stdout.strip()} in {python}")


def _engines() -> Iterator[Finding]:
    from django.db import DatabaseError

    from apps.deployments.models import Replica
    from apps.deployments.statuses import ReplicaState
    from modelyard import launchers
    from modelyard.launchers import ProcessState

    launcher = launchers.default()
    running = {each for each in launcher.known() if launcher.observe(each).state == ProcessState.RUNNING}
    try:
        owned = set(Replica.objects.exclude(state=ReplicaState.ENDED).values_list("pk", flat=True))
    except DatabaseError:
        return  # said above
    orphans = running - owned
    if orphans:
        mend = "The reaper ends them within a minute while workers run."
        yield Finding("warn", "engines", f"{len(orphans)} run that nobody owns", mend)
    else:
        yield Finding("ok", "engines", f"{len(running)} run, all owned")


SIGNS: dict[str, Callable[[str], str]] = {
    "ok": lambda text: click.style(text, fg="green"),
    "warn": lambda text: click.style(text, fg="yellow"),
    "fail": lambda text: click.style(text, fg="red"),
}


def _print(finding: Finding) -> None:
    click.echo(f"{SIGNS[finding.level](f'{finding.level:5}')}{finding.subject}: {finding.text}")
    if finding.mend:
        click.echo(f"     → {finding.mend}")
