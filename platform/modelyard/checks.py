"""Misconfiguration that can be seen without starting anything, as Django system checks with an id and a hint."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from modelyard import environment
from modelyard.launchers import ports

DATABASES = frozenset({"django.db.backends.sqlite3", "django.db.backends.postgresql"})
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
LITTLE = 1 * 2**30  # bytes free below which the next import probably fails


@checks.register("modelyard")
def installation(**_: Any) -> list[CheckMessage]:
    """What the environment says, and what it points at."""
    return [*_data_directory(), *_addresses(), *_services(), *_secret_key(), *_interpreters(), *_patterns()]


def _data_directory() -> Iterator[CheckMessage]:
    path: Path = settings.DATA_DIR
    hint = "Make it writable for this user, or set MODELYARD_DATA_DIR to a directory that is."
    if not os.access(path, os.W_OK | os.X_OK):
        yield checks.Error(f"The data directory {path} can't be written.", hint, id="modelyard.E001")
    elif shutil.disk_usage(path).free < LITTLE:
        free = shutil.disk_usage(path).free // 2**20
        more = "Free some space, or move the data directory to a larger disk."
        yield checks.Warning(f"The disk of {path} has {free} MB left.", more, id="modelyard.W001")


def _addresses() -> Iterator[CheckMessage]:
    port = environment.text("PORT", "8000")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        hint = "Set MODELYARD_PORT to a number from 1 to 65535, or unset it for 8000."
        yield checks.Error(f"MODELYARD_PORT is no port: {port!r}.", hint, id="modelyard.E002")
    try:
        ports.parse(settings.ENGINE_PORTS)
    except ValueError as error:
        yield checks.Error(f"{error}.", "Unset it for 20000-29999.", id="modelyard.E003")
    url = settings.PUBLIC_URL
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        hint = "Set it to what people type, for example https://models.example.com."
        yield checks.Error(f"MODELYARD_PUBLIC_URL is no address: {url!r}.", hint, id="modelyard.E006")


def _services() -> Iterator[CheckMessage]:
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine not in DATABASES:
        hint = "Use postgres://… or sqlite:///…, or unset MODELYARD_DATABASE_URL for SQLite in the data directory."
        yield checks.Error(f"The database {engine} isn't supported.", hint, id="modelyard.E004")
    scheme = urlsplit(settings.REDIS_URL).scheme
    if scheme not in REDIS_SCHEMES:
        hint = "Use redis://…, rediss://… or unix://…, or unset it for the Valkey that `modelyard up` brings along."
        yield checks.Error(f"MODELYARD_REDIS_URL is no Redis address ({scheme}://).", hint, id="modelyard.E005")


def _secret_key() -> Iterator[CheckMessage]:
    path: Path = settings.DATA_DIR / "secret_key"
    if not environment.text("SECRET_KEY") and path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        hint = f"Run: chmod 600 {path}. Keys and sessions can be forged by whoever reads it."
        yield checks.Warning(f"Other users can read {path}.", hint, id="modelyard.W002")


def _interpreters() -> Iterator[CheckMessage]:
    """Of engines: MODELYARD_ONNX_PYTHON and what other runtimes name so."""
    for name, value in sorted(os.environ.items()):
        if name.startswith("MODELYARD_") and name.endswith("_PYTHON") and value and not shutil.which(value):
            hint = "Set it to a Python that has the engine's packages, or unset it for Modelyard's own."
            yield checks.Error(f"{name} names no program: {value!r}.", hint, id="modelyard.E007")


def _patterns() -> Iterator[CheckMessage]:
    """Of what is redacted in kept inputs and outputs; nothing is kept while one is wrong."""
    from apps.deployments.usage import redaction

    for pattern in redaction.split(settings.REDACT_PATTERNS):
        try:
            re.compile(pattern)
        except re.error as error:
            hint = "Write regular expressions as Python reads them, a line each or between `;;`."
            message = f"MODELYARD_REDACT_PATTERNS has a pattern that can't be read: {pattern!r} ({error})."
            yield checks.Error(message, hint, id="modelyard.E009")


@checks.register("modelyard")
def runtimes(**_: Any) -> list[CheckMessage]:
    """Runtimes that are installed but can't be used; they never stop the site."""
    from apps.deployments.runtimes import registry

    found: list[CheckMessage] = []
    for name, entry in sorted(registry().items()):
        if entry.problem:
            hint = f"Mend, upgrade or remove the package {entry.distribution}, then restart Modelyard."
            found.append(
                checks.Warning(f"The runtime {name} can't be used: {entry.problem}.", hint, id="modelyard.W003")
            )
    if not any(entry.runtime for entry in registry().values()):
        hint = 'Install Modelyard itself again (`pip install "modelyard[onnx]"`) or a package with a runtime.'
        found.append(checks.Warning("No runtime is installed: nothing can be deployed.", hint, id="modelyard.W004"))
    return found


@checks.register("modelyard")
def catalogue(**_: Any) -> list[CheckMessage]:
    """Mistakes in the operator's catalogue; what they stand in is left out, and nothing else."""
    from apps.models.catalogue.shelf import shelf

    hint = "Mend it by docs/reference/catalogue.md; until then this entry or file isn't offered."
    return [checks.Warning(f"{mistake}.", hint, id="modelyard.W007") for mistake in shelf().mistakes]


@checks.register("modelyard", deploy=True)
def exposure(**_: Any) -> list[CheckMessage]:
    """What must not be so where strangers can reach the address (`modelyard check --deploy`)."""
    found: list[CheckMessage] = []
    if settings.DEBUG:
        hint = "Unset MODELYARD_DEBUG: error pages show settings and code."
        found.append(checks.Error("MODELYARD_DEBUG is on.", hint, id="modelyard.E008"))
    if "*" in settings.ALLOWED_HOSTS:
        hint = "Set MODELYARD_ALLOWED_HOSTS to the names people use, for example models.example.com."
        found.append(checks.Warning("Any host name is answered.", hint, id="modelyard.W005"))
    if not environment.flag("BEHIND_TLS_PROXY"):
        hint = "Put a TLS proxy in front and set MODELYARD_BEHIND_TLS_PROXY=1: keys and passwords travel in the clear."
        found.append(checks.Warning("Modelyard itself speaks plain HTTP.", hint, id="modelyard.W006"))
    return found
