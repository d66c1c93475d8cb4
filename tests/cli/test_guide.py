"""The guide for plugin authors, command by command as it is written, in an environment of its own."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.conftest import Up, environment

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guides/write-a-runtime.md").read_text()
pytestmark = [pytest.mark.system, pytest.mark.install, pytest.mark.timeout(300)]

TOKEN = """
from modelyard.cli import setup
setup.prepare_django()
from django.contrib.auth.models import User
from knox.models import AuthToken
print(AuthToken.objects.create(User.objects.get(username="admin"))[1])
"""


@pytest.fixture
def author(tmp_path: Path, data: Path) -> dict[str, str]:
    """A shell in which `python`, `pip`, `pytest` and `modelyard` are those of a fresh environment with Modelyard."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "modelyard.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, module in (("modelyard", "modelyard.cli"), ("pytest", "pytest")):
        script = venv / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -m {module} "$@"\n')
        script.chmod(0o700)
    env = environment(data, DJANGO_SETTINGS_MODULE="modelyard.settings")
    return {**env, "PATH": f"{venv}/bin:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def sh(script: str, env: dict[str, str], place: Path) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=place, env=env, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_every_command_of_the_guide_works(author: dict[str, str], data: Path, tmp_path: Path) -> None:
    place = tmp_path / "author"
    place.mkdir()
    make, test, look, deploy = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    sh(make, author, place)
    assert " passed" in sh(test, author, place)
    yard = Up(data, python=f"{tmp_path}/venv/bin/python")
    address = yard.ready()
    assert sh(look, author, place).startswith("ok")
    token = sh(f"python - <<'END'\n{TOKEN}\nEND", author, place).splitlines()[-1]
    said = sh(deploy, {**author, "TOKEN": token, "YARD": address}, place)
    assert '"embedding"' in said.splitlines()[-1]
    assert yard.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["onnx"], "has a runtime onnx already"),
        (["9 lives"], "can't be a runtime's name"),
        (["fine", "--directory", "nowhere"], "isn't a folder"),
        (["echo-2", "--directory", "."], ""),
    ],
)
def test_a_name_that_can_not_be_is_refused_in_a_line(words: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard.cli", "startruntime", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if said else 0)
    assert said in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if said else ["modelyard-echo-2"])


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "modelyard-mine").mkdir()
    command = [sys.executable, "-m", "modelyard.cli", "startruntime", "mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is there already" in done.stdout + done.stderr
    assert list((tmp_path / "modelyard-mine").iterdir()) == []


def test_the_template_is_clean(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard.cli", "startruntime", "mine"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,UP,B", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
