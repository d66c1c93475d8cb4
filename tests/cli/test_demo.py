"""The main job, end to end: from an empty directory to a cURL that answers, and again on the next day."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Up, gone, run

pytestmark = pytest.mark.system


def curl(yard: Up) -> str:
    """The line that the demo ends with; skips where the package index can't be reached."""
    line = yard.wait_for(r"^curl .*|can't be fetched|did not come within").string
    if not line.startswith("curl "):
        pytest.skip(line)
    return line


def embedding(line: str) -> list[float]:
    if shutil.which("curl") is None:
        pytest.skip("the printed line needs curl")
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=True)
    values = json.loads(done.stdout)["data"][0]["embedding"]
    assert isinstance(values, list)
    return values


def test_the_printed_curl_answers_and_the_next_run_goes_on_with_the_same_deployment(data: Path, up: Start) -> None:
    first = up("--demo")
    line = curl(first)
    vector = embedding(line)
    assert len(vector) == 384
    assert first.lines[-1] == line
    assert first.wait_for(r"^Deployment ").string.endswith("all-MiniLM-L6-v2-int8 · Deployed")
    assert first.wait_for(r"^Login +admin / \S+$")
    assert first.end() == 0
    assert gone(data)
    second = up("--demo")
    again = curl(second)
    assert embedding(again) == vector
    assert re.findall(r"dep_\w+", again) == re.findall(r"dep_\w+", line)


def test_without_a_network_all_else_goes_on(data: Path, up: Start) -> None:
    yard = up("--demo", PIP_INDEX_URL="http://127.0.0.1:1/simple", PIP_FIND_LINKS="", PIP_NO_CACHE_DIR="1",
              PIP_RETRIES="0", PIP_CONFIG_FILE="/dev/null")  # fmt: skip
    yard.ready()
    yard.wait_for(r"✗ The demo: .* can't be fetched")
    yard.wait_for(r"Login: admin / \S+")
    assert run("doctor", data=data).returncode == 0
