"""The runtime on a real chat model, by the conformance suite of Modelyard and by what llama.cpp says of its own."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
from modelyard_llamacpp import LlamaCppRuntime, gguf
from modelyard_llamacpp.options import LlamaCppOptions

from modelyard.launchers.host import this_host
from modelyard.runtimes import Level, Model
from modelyard.runtimes.testing import Engine, RuntimeConformance, assert_explained, describe
from tests.runtimes.smollm2 import smollm2

RUNTIME = LlamaCppRuntime()


class TestLlamaCpp(RuntimeConformance):
    runtime = RUNTIME
    options = {"slots": 2, "context_tokens": 1024}

    @classmethod
    def model(cls) -> Model:
        return smollm2()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Engine(RUNTIME, smollm2(), {"slots": 2, "context_tokens": 512}, tmp_path_factory.mktemp("engine")) as engine:
        yield engine.start().ready()


def chat(engine: Engine, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = engine.ask("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 20, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_it_says_something_and_counts_it(engine: Engine) -> None:
    answer = chat(engine)
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] <= 20


def test_it_answers_in_the_shape_of_a_schema(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    said = chat(engine, response_format=wanted, max_tokens=40)["choices"][0]["message"]["content"]
    assert said.startswith("{")
    assert '"city"' in said


def test_what_the_options_say_holds_where_a_request_does_not(tmp_path: Path) -> None:
    options = {"slots": 1, "context_tokens": 512, "temperature": 0, "max_tokens": 6, "stop": ["France"]}
    asked = {"messages": [{"role": "user", "content": "Repeat: The capital of France is Paris."}], "seed": 7}
    with Engine(RUNTIME, smollm2(), options, tmp_path) as engine:
        answers = [engine.start().ready().ask("/v1/chat/completions", asked).json() for _ in range(2)]
        longer = engine.ask("/v1/chat/completions", {**asked, "max_tokens": 12, "stop": ["zzz"]}).json()
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] == texts[1]
    assert "France" not in texts[0]
    assert all(answer["usage"]["completion_tokens"] <= 6 for answer in answers)
    assert "France" in longer["choices"][0]["message"]["content"]
    assert longer["usage"]["completion_tokens"] > 6


def test_generation_defaults_are_idle_for_embeddings() -> None:
    assert "temperature" not in RUNTIME.idle_options(smollm2())
    assert "temperature" in RUNTIME.idle_options(replace(smollm2(), task="feature-extraction"))


def test_responses_are_counted(engine: Engine) -> None:
    body = {"model": "x", "input": "Say hello.", "max_output_tokens": 8}
    usage = RUNTIME.usage("/v1/responses", engine.ask("/v1/responses", body).json())
    assert usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0


def test_the_served_model_is_told_by_its_name_only(engine: Engine) -> None:
    told = engine.ask("/v1/models", None, method="GET")
    assert engine.context.served_name in told.text
    assert str(engine.context.model.path) not in told.text


def test_a_prompt_longer_than_the_context_is_refused_and_explained(engine: Engine) -> None:
    messages = [{"role": "user", "content": "word " * 2000}]
    answer = engine.ask("/v1/chat/completions", {"messages": messages})
    assert answer.status_code == 400
    assert "context" in answer.json()["error"]["message"]


def test_more_context_than_memory_is_explained(tmp_path: Path) -> None:
    with Engine(RUNTIME, smollm2(), {"context_tokens": 2**24, "slots": 4}, tmp_path) as engine:
        engine.start().gone(60)
        failure = engine.death()
    assert_explained(failure)
    assert failure.code == "out_of_memory"


def test_an_unknown_architecture_is_explained(tmp_path: Path) -> None:
    source = next(smollm2().path.glob("*.gguf")).read_bytes()
    entry = b"general.architecture" + struct.pack("<IQ", 8, 5)
    changed = source.replace(entry + b"llama", entry + b"lhama", 1)
    assert changed != source
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").write_bytes(changed)
    with Engine(RUNTIME, describe(tmp_path / "model", format="gguf"), {}, tmp_path / "engine") as engine:
        engine.start().gone(60)
        failure = engine.death()
    assert (failure.code, failure.permanent) == ("architecture_unsupported", True)
    assert "lhama" in failure.message


def test_without_the_engine_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o700)
    monkeypatch.setenv("MODELYARD_LLAMACPP_PYTHON", str(other))
    (finding,) = RUNTIME.check(smollm2(), LlamaCppOptions(), this_host())
    assert (finding.level, finding.code) == (Level.BLOCK, "engine_missing")
    assert "modelyard-llamacpp[engine]" in finding.fix


def test_a_context_beyond_the_models_is_warned_of() -> None:
    findings = RUNTIME.check(smollm2(), LlamaCppOptions(context_tokens=100_000, slots=1), this_host())
    assert "context_too_long" in {finding.code for finding in findings}


def test_a_quantized_cache_without_flash_attention_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="flash attention"):
        LlamaCppOptions(kv_cache_type="q8_0", flash_attention="off")


def test_the_estimate_follows_the_options() -> None:
    few, many = (RUNTIME.estimate(smollm2(), LlamaCppOptions(slots=slots), this_host()) for slots in (1, 8))
    cache = {part.name: part.bytes for part in many.parts}["KV cache"]
    assert many.likely - few.likely == cache * 7 // 8
    quantized = RUNTIME.estimate(smollm2(), LlamaCppOptions(slots=8, kv_cache_type="q8_0"), this_host())
    assert quantized.likely < many.likely


def test_the_first_of_several_files_is_loaded(tmp_path: Path) -> None:
    for name in ("mmproj-a.gguf", "big-00002-of-00002.gguf", "big-00001-of-00002.gguf"):
        (tmp_path / name).symlink_to(next(smollm2().path.glob("*.gguf")))
    assert gguf.graph(replace(smollm2(), path=tmp_path)).name == "big-00001-of-00002.gguf"
