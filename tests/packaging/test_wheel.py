"""What people install: the built wheel and a third-party runtime beside it, in a clean environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import messages
from tests.runtimes.smollm2 import smollm2_folder

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "tests/plugins/modelyard-llamacpp"
pytestmark = [pytest.mark.system, pytest.mark.install, pytest.mark.timeout(400)]

RUNTIMES = """
import json, os, modelyard
from modelyard.cli import setup
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")
setup.prepare_django()
from apps.deployments.runtimes import registry
print(json.dumps({"place": modelyard.__file__, "found": {n: e.problem for n, e in registry().items()}}))
"""
CHAT = """
import sys, pathlib
from modelyard_llamacpp import LlamaCppRuntime
from modelyard.launchers.local import LocalLauncher
from modelyard.launchers import Launch
from modelyard.runtimes import Failure, LaunchContext, Model
import time
model = Model("mdl_1", "smollm2", pathlib.Path(sys.argv[1]), "gguf")
launcher, runtime = LocalLauncher(pathlib.Path(sys.argv[2])), LlamaCppRuntime()
context = LaunchContext(model, runtime.options(slots=1, context_tokens=512), "127.0.0.1",
                        launcher.pick_port(()), "s3cret", launcher.workdir("rep_1"), "chat")
command = runtime.command(context)
launcher.start(Launch("rep_1", 1, command.argv, command.env, command.stop_seconds))
for _ in range(600):
    try:
        runtime.probe(context, 30)
        break
    except Failure as failure:
        time.sleep(0.1)
else:
    raise SystemExit(f"{failure} {launcher.log_tail('rep_1')}")
launcher.stop("rep_1")
print("answered")
"""


def run(*command: str, cwd: Path, **env: str) -> str:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MODELYARD", "DJANGO"))
    }
    done = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it but the two wheels and what the lock names."""
    place = tmp_path_factory.mktemp("wheel")
    for project in (ROOT, PLUGIN):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "dist"), cwd=project)
    run(sys.executable, "-m", "venv", str(place / "venv"), cwd=place)
    python = place / "venv/bin/python"
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock"), cwd=place)
    run(*pip, "--no-deps", *(str(wheel) for wheel in (place / "dist").glob("*.whl")), cwd=place)
    return python


def test_the_wheel_has_all_that_a_start_needs(installed: Path, tmp_path: Path) -> None:
    data = {"MODELYARD_DATA_DIR": str(tmp_path / "data")}
    command = str(installed.with_name("modelyard"))
    run(command, "migrate", "--verbosity=0", cwd=tmp_path, **data)
    run(command, "check", cwd=tmp_path, **data)
    told = json.loads(run(str(installed), "-c", RUNTIMES, cwd=tmp_path, **data).splitlines()[-1])
    assert str(installed.parents[1]) in told["place"]
    assert told["found"] == dict.fromkeys(told["found"], "")
    assert {"onnx", "vllm", "llamacpp"} <= set(told["found"])


def test_a_third_party_runtime_chats_beside_it(installed: Path, tmp_path: Path) -> None:
    said = run(str(installed), "-c", CHAT, str(smollm2_folder()), str(tmp_path / "engines"), cwd=tmp_path)
    assert said.splitlines()[-1] == "answered"


def test_the_translations_are_in_the_wheel(installed: Path) -> None:
    there = next((installed.parents[1] / "lib").glob("python*/site-packages"))
    for package in messages.PACKAGES:
        assert (there / package.removeprefix("platform/") / "locale/de/LC_MESSAGES/django.mo").is_file(), package


def test_no_test_or_benchmark_is_in_the_wheel(installed: Path) -> None:
    places = [path.name for path in (installed.parents[1] / "lib").glob("python*/site-packages/*")]
    assert {"apps", "modelyard", "runtimes"} <= set(places)
    assert not {"tests", "bench", "docs"} & set(places)
