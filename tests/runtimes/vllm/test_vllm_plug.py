"""What the vLLM runtime decides without its engine: arguments, findings, estimates and the causes of deaths."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest

from modelyard.runtimes import Gpu, Host, LaunchContext, Level, Model
from runtimes.vllm import VllmRuntime
from runtimes.vllm.options import VllmOptions
from tests.runtimes.folders import LLAMA, write_llama

RUNTIME = VllmRuntime()
GB = 10**9
CPU_HOST = Host(8, 64 * GB, 48 * GB)
GPU_HOST = Host(8, 64 * GB, 48 * GB, (Gpu("A10", 24 * GB, 22 * GB),))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A vLLM that is installed, as far as its interpreter tells: by package metadata and its source."""

    def make(*, cpu: bool) -> Path:
        bin_folder = tmp_path / "vllm-bin"
        bin_folder.mkdir()
        python = bin_folder / "python3"
        known = ["LlamaForCausalLM", "BertModel"]
        answer = json.dumps({"version": "0.32.0", "cpu": cpu, "known": known, "there": True})
        python.write_text(f"#!/bin/sh\necho '{answer}'\n")
        command = bin_folder / "vllm"
        command.write_text(f"#!{python}\n")
        for path in (python, command):
            path.chmod(0o700)
        monkeypatch.setenv("MODELYARD_VLLM_COMMAND", str(command))
        return command

    return make


def argv(model: Model, workdir: Path, **options: Any) -> list[str]:
    launch = LaunchContext(model, VllmOptions(**options), "127.0.0.1", 4711, "s3cret", workdir, "chat")
    return list(RUNTIME.command(launch).argv)


def embedder(model: Model) -> Model:
    return replace(model, task="feature-extraction")


def codes(model: Model, host: Host, **options: Any) -> dict[str, Level]:
    return {finding.code: finding.level for finding in RUNTIME.check(model, VllmOptions(**options), host)}


def test_generation_defaults_are_told_where_text_is_generated(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    model = write_llama(tmp_path / "m")
    given = argv(model, tmp_path, temperature=0, top_k=5, max_tokens=64)
    overridden = next(each for each in given if each.startswith("--override-generation-config="))
    assert json.loads(overridden.partition("=")[2]) == {"temperature": 0, "top_k": 5, "max_new_tokens": 64}
    assert "--generation-config=auto" in given
    assert not any("generation-config" in each for each in argv(embedder(model), tmp_path, temperature=0))
    assert not any(each.startswith("--override-generation") for each in argv(model, tmp_path))


def test_generation_defaults_are_idle_for_other_models(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m")
    assert not RUNTIME.idle_options(model)
    assert {"temperature", "max_tokens"} <= set(RUNTIME.idle_options(embedder(model)))


def test_on_a_cpu_the_sizes_are_told(build: Any, tmp_path: Path) -> None:
    command = build(cpu=True)
    given = argv(write_llama(tmp_path / "m"), tmp_path)
    assert given[:3] == [str(command), "serve", str(tmp_path / "m")]
    assert {"--max-model-len=4096", "--max-num-seqs=4", "--enforce-eager", "--runner=generate"} <= set(given)
    assert f"--kv-cache-memory-bytes={2 * 30 * 3 * 64 * 2 * 4096 * 4}" in given
    assert "--gpu-memory-utilization=0.9" not in given


def test_on_a_gpu_vllm_chooses(build: Any, tmp_path: Path) -> None:
    build(cpu=False)
    given = argv(write_llama(tmp_path / "m"), tmp_path, tensor_parallel_size=2, quantization="fp8")
    assert {"--gpu-memory-utilization=0.9", "--tensor-parallel-size=2", "--quantization=fp8"} <= set(given)
    assert not [a for a in given if a.startswith(("--max-model-len", "--max-num-seqs", "--enforce-eager", "--kv-"))]


def test_what_is_asked_for_is_passed_on(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    given = argv(
        write_llama(tmp_path / "m"), tmp_path,
        tool_call_parser="hermes", reasoning_parser="qwen3", chat_template="{{ x }}",
        lora_adapters=["polite=mdl_a"], structured_outputs_backend="xgrammar", extra_args=["--max-lora-rank=64"],
    )  # fmt: skip
    assert {"--enable-auto-tool-choice", "--tool-call-parser=hermes", "--reasoning-parser=qwen3"} <= set(given)
    assert given[given.index("--lora-modules") + 1] == f"polite={tmp_path / 'mdl_a'}"
    assert (tmp_path / "chat_template.jinja").read_text() == "{{ x }}"
    assert given[-1] == "--max-lora-rank=64"


def test_nothing_is_reported_or_fetched(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    launch = LaunchContext(write_llama(tmp_path / "m"), VllmOptions(), "127.0.0.1", 1, "s3cret", tmp_path, "chat")
    env = RUNTIME.command(launch).env
    assert (env["VLLM_NO_USAGE_STATS"], env["HF_HUB_OFFLINE"], env["VLLM_API_KEY"]) == ("1", "1", "s3cret")
    assert env["VLLM_CACHE_ROOT"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    "argument", ["--port=1", "--api-key=x", "--served-model", "--host", "x", "-x", "--a b=1\n--port=2", "--hf-token=x"]
)
def test_arguments_that_are_not_for_people_are_refused(argument: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="isn't one argument|option of its own"):
        VllmOptions(extra_args=(argument,))


@pytest.mark.parametrize(
    "argument",
    ["--kv-transfer-config.kv_connector_module_path=x", "--scheduler-cls=a.B", "--logging-config=x", "--tool-server=x",
     "--enable-log-requests"],
)  # fmt: skip
def test_arguments_that_load_code_or_log_prompts_are_refused(argument: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="option of its own"):
        VllmOptions(extra_args=(argument,))


def test_usage_is_sent_to_who_asks_only(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    assert not [argument for argument in argv(write_llama(tmp_path / "m"), tmp_path) if "include-usage" in argument]
    with pytest.raises(pydantic.ValidationError, match="option of its own"):
        VllmOptions(extra_args=("--enable-force-include-usage",))


@pytest.mark.parametrize("adapter", ["polite", "polite=/etc", "a b=mdl_1", "=mdl_1", "x=mdl_../.."])
def test_adapters_are_imported_models(adapter: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        VllmOptions(lora_adapters=(adapter,))


def test_without_vllm_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_VLLM_COMMAND", str(tmp_path / "nowhere"))
    (finding,) = RUNTIME.check(write_llama(tmp_path / "m"), VllmOptions(), CPU_HOST)
    assert (finding.level, finding.code) == (Level.BLOCK, "vllm_missing")
    assert "MODELYARD_VLLM_COMMAND" in finding.fix


@pytest.mark.parametrize("start", ["#!{0}\n", "#!/bin/sh\n'''exec' \"{0}\" \"$0\" \"$@\"\n' '''\n"])
def test_the_interpreter_of_the_command_is_asked(build: Any, start: str, tmp_path: Path) -> None:
    command = build(cpu=True)
    command.write_text(start.replace("{0}", str(command.with_name("python3"))))
    strange = write_llama(tmp_path / "x", {**LLAMA, "architectures": ["Nobody"]})
    assert "no_gpu" not in codes(strange, CPU_HOST)
    assert codes(strange, CPU_HOST)["architecture_unsupported"] == Level.BLOCK


def test_a_wrapper_is_taken_at_its_word(build: Any, tmp_path: Path) -> None:
    build(cpu=True).write_text('#!/bin/bash\nexec vllm "$@"\n')
    found = codes(write_llama(tmp_path / "m"), CPU_HOST)
    assert found["build_unknown"] == Level.WARN
    assert Level.BLOCK not in found.values()


def test_an_interpreter_without_vllm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_VLLM_COMMAND", f"{sys.executable} -m vllm.entrypoints.cli.main")
    assert codes(write_llama(tmp_path / "m"), CPU_HOST) == {"vllm_missing": Level.BLOCK}


def test_a_build_for_gpus_needs_one(build: Any, tmp_path: Path) -> None:
    build(cpu=False)
    assert codes(write_llama(tmp_path / "m"), CPU_HOST)["no_gpu"] == Level.BLOCK
    assert "no_gpu" not in codes(write_llama(tmp_path / "m"), GPU_HOST)
    assert codes(write_llama(tmp_path / "m"), GPU_HOST, tensor_parallel_size=2)["too_few_gpus"] == Level.BLOCK


def test_what_the_model_lacks_is_found(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    strange = write_llama(
        tmp_path / "strange", {**LLAMA, "architectures": ["NobodyForCausalLM"], "auto_map": {"a": "b"}}
    )
    found = codes(strange, CPU_HOST, max_model_len=10_000, lora_adapters=["polite=mdl_none"])
    assert found["architecture_unsupported"] == Level.BLOCK
    assert found["remote_code"] == Level.WARN
    assert found["context_too_long"] == Level.BLOCK
    assert found["no_adapter"] == Level.BLOCK
    assert found["no_chat_template"] == Level.INFO


def test_damaged_weights_are_found_before_a_start(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    model = write_llama(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert codes(model, CPU_HOST)["damaged_model"] == Level.BLOCK


def test_too_little_memory_is_found(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    assert codes(write_llama(tmp_path / "m"), Host(2, 4 * GB, GB))["memory"] == Level.BLOCK
    assert codes(write_llama(tmp_path / "m"), Host(2, 4 * GB, 2 * GB))["memory"] == Level.WARN


def test_the_estimate_knows_what_weights_become(build: Any, tmp_path: Path) -> None:
    build(cpu=True)
    wide = write_llama(tmp_path / "f32", dtype="F32")
    parts = {part.name: part.bytes for part in RUNTIME.estimate(wide, VllmOptions(), CPU_HOST).parts}
    assert parts["weights"] == 2_000_000
    exact = {p.name: p.bytes for p in RUNTIME.estimate(wide, VllmOptions(dtype="float32"), CPU_HOST).parts}
    assert exact["weights"] == 4_000_000


def test_on_a_gpu_vllm_takes_its_share(build: Any, tmp_path: Path) -> None:
    build(cpu=False)
    estimate = RUNTIME.estimate(write_llama(tmp_path / "m"), VllmOptions(gpu_memory_utilization=0.5), GPU_HOST)
    assert estimate.device == "gpu"
    assert estimate.likely == 12 * GB
    assert estimate.low < 2 * GB


def test_quantizations_while_loading_are_offered_on_gpus(build: Any, tmp_path: Path) -> None:
    build(cpu=False)
    model = write_llama(tmp_path / "m")
    assert [r.name for r in RUNTIME.recipes(model, VllmOptions(), GPU_HOST)] == ["fp8", "int8-weights"]
    assert RUNTIME.recipes(model, VllmOptions(quantization="fp8"), GPU_HOST) == []


@pytest.mark.parametrize(
    ("task", "architecture", "path"),
    [
        ("text-generation", "LlamaForCausalLM", "/v1/completions"),
        ("feature-extraction", "BertModel", "/v1/embeddings"),
        ("text-ranking", "BertForSequenceClassification", "/v1/rerank"),
        ("text-classification", "BertForSequenceClassification", "/classify"),
    ],
)
def test_the_sample_fits_what_the_model_is_for(task: str, architecture: str, path: str, tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m", {**LLAMA, "architectures": [architecture], "id2label": {"0": "a", "1": "b"}})
    model = Model(**{**vars(model), "task": task})
    assert RUNTIME.sample(model, VllmOptions(), "m").path == path
    assert path in {route.path for route in RUNTIME.routes(model, VllmOptions())}


DEATHS = [
    (1, "RuntimeError: Worker failed with error 'Unsupported CPU attention configuration: head_dim=16 isa=2'",
     "attention_unsupported"),
    (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "gpu_out_of_memory"),
    (1, "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
     "kv_cache_too_small"),
    (1, "KeyError: \"Reasoning parser 'nobody' not found. Available parsers: cohere\"", "bad_parser"),
    (1, "  Value error, Cannot find the config file for awq [type=value_error]", "quantization_unsupported"),
    (1, "OSError: You are trying to access a gated repo.", "gated_weights"),
    (1, "RuntimeError: Failed to infer device type", "no_gpu"),
    (1, "ValueError: Model architectures ['NobodyForCausalLM'] are not supported for now.", "architecture_unsupported"),
    (-4, "", "processor"),
    (-9, "", "killed"),
    (137, "", "killed"),
    (0, "INFO: Shutting down", "engine_core_died"),
    (1, "ValueError: something new", "start_failed"),
]  # fmt: skip


@pytest.mark.parametrize(("exit_code", "line", "code"), DEATHS, ids=[f"{d[2]}-{d[0]}" for d in DEATHS])
def test_the_cause_above_the_last_lines_is_told(exit_code: int, line: str, code: str) -> None:
    log = [f"(EngineCore pid=1) ERROR {line}", "RuntimeError: Engine core initialization failed. See root cause above."]
    failure = RUNTIME.failure(exit_code, log if line else [])
    assert failure.code == code


def test_tokens_of_every_shape_are_counted() -> None:
    chat = RUNTIME.usage("/v1/chat/completions", {"usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    responses = RUNTIME.usage("/v1/responses", {"response": {"usage": {"input_tokens": 5, "output_tokens": 6}}})
    ranking = RUNTIME.usage("/v1/rerank", {"usage": {"total_tokens": 7}})
    assert chat
    assert responses
    assert ranking
    assert (chat.prompt_tokens, responses.completion_tokens, ranking.prompt_tokens) == (3, 6, 7)
    assert RUNTIME.usage("/v1/chat/completions", {"choices": []}) is None
