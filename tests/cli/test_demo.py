"""The main job, end to end: from an empty directory to a cURL that answers, and again on the next day."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import openai
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


def streamed(yard: Up) -> None:
    """The last line chats, word by word."""
    line = yard.wait_for(r"^curl -sSN .*").string
    assert yard.lines[-1] == line
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=True)
    events = [event for event in done.stdout.splitlines() if event.startswith("data: ")]
    assert len(events) > 5
    assert events[-1] == "data: [DONE]"
    chat_with_the_sdk(line)


def chat_with_the_sdk(line: str) -> None:
    """The same deployment from OpenAI's own client, with its address and its key."""
    base, key = re.search(r"(http\S+/v1)/chat/completions", line), re.search(r"Bearer (myk_\w+)", line)
    assert base
    assert key
    with openai.OpenAI(base_url=base[1], api_key=key[1]) as client:
        stream = client.chat.completions.create(
            model=client.models.list().data[0].id,
            messages=[{"role": "user", "content": "Name three colours."}],
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 5
    assert said.strip()
    assert chunks[-1].usage
    assert 0 < chunks[-1].usage.completion_tokens <= 24


def test_the_printed_curl_answers_and_the_next_run_goes_on_with_the_same_deployment(data: Path, up: Start) -> None:
    first = up("--demo")
    line = curl(first)
    vector = embedding(line)
    assert len(vector) == 384
    streamed(first)
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
