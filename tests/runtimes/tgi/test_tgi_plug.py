"""What the TGI runtime says without starting anything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest

from modelyard.runtimes import Gpu, Host, LaunchContext, Level
from runtimes.tgi import TgiRuntime
from runtimes.tgi.options import TgiOptions
from tests.runtimes.tgi.models import served

GB = 10**9
RUNTIME = TgiRuntime()
CPU_HOST = Host(8, 64 * GB, 48 * GB)
GPU_HOST = Host(8, 64 * GB, 48 * GB, (Gpu("A10", 24 * GB, 22 * GB),))


def argv(folder: Path, **options: Any) -> list[str]:
    model = served(folder / "model")
    launch = LaunchContext(model, TgiOptions(**options), "127.0.0.1", 4711, "s3cret", folder, "chat")
    return list(RUNTIME.command(launch).argv)


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def codes(folder: Path, host: Host = GPU_HOST, *faults: str, **options: Any) -> dict[str, Level]:
    found = RUNTIME.check(served(folder, *faults), TgiOptions(**options), host)
    return {finding.code: finding.level for finding in found}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_TGI_DEVICE")


def test_unset_options_are_left_to_tgi(tmp_path: Path) -> None:
    given = argv(tmp_path)
    assert not {"--quantize", "--dtype", "--max-total-tokens", "--cuda-graphs", "--trust-remote-code"} & set(given)


def test_every_set_option_is_an_argument(tmp_path: Path) -> None:
    given = argv(
        tmp_path, quantize="awq", kv_cache_dtype="fp8_e5m2", num_shard=2, max_input_tokens=100, max_total_tokens=200,
        max_batch_prefill_tokens=300, max_batch_total_tokens=400, max_concurrent_requests=5, cuda_memory_fraction=0.5,
        cuda_graphs="0", speculate=2, rope_scaling="dynamic", rope_factor=2.5, graceful_seconds=7,
    )  # fmt: skip
    expected = {
        "--quantize": "awq", "--kv-cache-dtype": "fp8_e5m2", "--num-shard": "2", "--sharded": "true",
        "--max-input-tokens": "100", "--max-total-tokens": "200", "--max-batch-prefill-tokens": "300",
        "--max-batch-total-tokens": "400", "--max-concurrent-requests": "5", "--cuda-memory-fraction": "0.5",
        "--cuda-graphs": "0", "--speculate": "2", "--rope-scaling": "dynamic", "--rope-factor": "2.5",
        "--graceful-termination-timeout": "7",
    }  # fmt: skip
    assert {flag: value(given, flag) for flag in expected} == expected


def test_it_listens_where_it_is_told_and_reports_to_nobody(tmp_path: Path) -> None:
    given = argv(tmp_path)
    told = {flag: value(given, flag) for flag in ("--hostname", "--port", "--usage-stats")}
    assert told == {"--hostname": "127.0.0.1", "--port": "4711", "--usage-stats": "off"}


def test_adapters_are_named_folders(tmp_path: Path) -> None:
    given = argv(tmp_path, lora_adapters=["polite=mdl_1", "rude=mdl_2"])
    assert value(given, "--lora-adapters") == f"polite={tmp_path}/mdl_1,rude={tmp_path}/mdl_2"


def test_nothing_is_fetched_while_serving(tmp_path: Path) -> None:
    launch = LaunchContext(served(tmp_path / "m"), TgiOptions(), "127.0.0.1", 4711, "s3cret", tmp_path, "chat")
    assert RUNTIME.command(launch).env["HF_HUB_OFFLINE"] == "1"


def test_it_has_time_to_end_by_itself(tmp_path: Path) -> None:
    options = TgiOptions(graceful_seconds=120)
    launch = LaunchContext(served(tmp_path / "m"), options, "127.0.0.1", 4711, "s3cret", tmp_path, "chat")
    assert 240 < RUNTIME.command(launch).stop_seconds <= 300


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_input_tokens": 200, "max_total_tokens": 200}, "Longest prompt must be less than Context"),
        ({"max_input_tokens": 300, "max_batch_prefill_tokens": 200}, "Prefill batch"),
        ({"max_total_tokens": 300, "max_batch_total_tokens": 200}, "Batch must be at least"),
        ({"dtype": "float16", "quantize": "awq"}, "Data type can't be set together"),
        ({"rope_scaling": "linear"}, "go together"),
        ({"lora_adapters": ["a=mdl_1", "a=mdl_2"]}, "name of its own"),
        ({"cuda_graphs": "some"}, "batch sizes"),
        ({"extra_args": ["--api-key=x"]}, "--api-key is set by Modelyard"),
        ({"extra_args": ["--ngrok"]}, "isn't allowed"),
        ({"extra_args": ["max-best-of"]}, "isn't one argument"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        TgiOptions.model_validate(options)


def test_maintenance_mode_is_told(tmp_path: Path) -> None:
    assert codes(tmp_path)["maintenance_mode"] == Level.WARN


@pytest.mark.usefixtures("cuda")
def test_a_gpu_is_needed_unless_told(tmp_path: Path) -> None:
    assert codes(tmp_path / "a", CPU_HOST)["no_gpu"] == Level.BLOCK
    assert Level.BLOCK not in codes(tmp_path / "b").values()


@pytest.mark.usefixtures("cuda")
def test_each_shard_needs_a_gpu(tmp_path: Path) -> None:
    assert codes(tmp_path, num_shard=2)["too_few_gpus"] == Level.BLOCK


def test_quantization_needs_a_gpu(tmp_path: Path) -> None:
    assert codes(tmp_path, CPU_HOST, quantize="eetq")["needs_gpu"] == Level.BLOCK


def test_a_missing_launcher_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_TGI_COMMAND")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = RUNTIME.check(served(tmp_path), TgiOptions(), GPU_HOST)
    blocking = next(finding for finding in found if finding.level == Level.BLOCK)
    assert blocking.code == "not_installed"
    assert "MODELYARD_TGI_COMMAND" in blocking.fix


def test_a_context_beyond_the_models_is_told(tmp_path: Path) -> None:
    assert codes(tmp_path, max_total_tokens=9000)["context_too_long"] == Level.BLOCK
    assert "context_too_long" not in codes(tmp_path, max_total_tokens=9000, rope_scaling="dynamic", rope_factor=2)


def test_an_adapter_that_was_not_imported_is_told(tmp_path: Path) -> None:
    assert codes(tmp_path, lora_adapters=["polite=mdl_1"])["no_adapter"] == Level.BLOCK


@pytest.mark.usefixtures("cuda")
def test_too_little_memory_is_told(tmp_path: Path) -> None:
    small = replace(GPU_HOST, gpus=(Gpu("small", 1 * GB, 10**8),))
    assert codes(tmp_path, small)["memory"] == Level.BLOCK


@pytest.mark.usefixtures("cuda")
def test_the_estimate_of_a_gpu_takes_the_share_it_may(tmp_path: Path) -> None:
    estimate = RUNTIME.estimate(served(tmp_path), TgiOptions(cuda_memory_fraction=0.5), GPU_HOST)
    assert (estimate.device, estimate.likely) == ("gpu", 12 * GB)


@pytest.mark.usefixtures("cuda")
def test_the_estimate_grows_with_the_batch_that_is_set(tmp_path: Path) -> None:
    estimate = RUNTIME.estimate(served(tmp_path), TgiOptions(max_batch_total_tokens=1000), GPU_HOST)
    cache = next(part for part in estimate.parts if part.name == "KV cache")
    assert cache.bytes == 2 * 30 * 3 * 64 * 2 * 1000


def test_only_guarded_paths_are_routes(tmp_path: Path) -> None:
    routes = RUNTIME.routes(served(tmp_path), TgiOptions())
    paths = {route.path for route in routes}
    assert {route.method for route in routes} == {"POST"}
    assert not {"/chat_tokenize", "/invocations", "/metrics", "/info", "/v1/models"} & paths


@pytest.mark.parametrize(
    ("last", "code", "permanent"),
    [
        ("Error: DownloadError", "download_failed", True),
        ("Error: ShardCannotStart", "shard_start_failed", False),
        ("Error: ShardDisconnected", "shard_died", False),
        ("Error: ShardFailed", "shard_died", False),
        ("Error: WebserverFailed", "router_failed", False),
        ("Error: WebserverCannotStart", "router_failed", False),
        ('Error: NotEnoughCUDADevices("`sharded` is true but only found 1 CUDA devices")', "too_few_gpus", True),
        ("text-generation-router not found in PATH", "installation_incomplete", True),
        ("ValueError: Unsupported model type qwen9", "architecture_unsupported", True),
        ("torch.OutOfMemoryError: CUDA out of memory.", "gpu_out_of_memory", True),
    ],
)
def test_a_last_line_is_classified(last: str, code: str, permanent: bool) -> None:
    failure = RUNTIME.failure(1, ["INFO text_generation_launcher: Starting shard", last])
    assert (failure.code, failure.permanent) == (code, permanent)


def test_the_cause_stands_above_the_last_line() -> None:
    log = ["Traceback (most recent call last):", "RuntimeError: unforeseen thing", "Error: ShardCannotStart"]
    assert "RuntimeError: unforeseen thing" in RUNTIME.failure(1, log).message


def test_what_an_earlier_launch_died_of_is_not_blamed() -> None:
    log = ["--- start 1, 2026-01-01", "CUDA out of memory", "--- start 2, 2026-01-01", "Error: ShardFailed"]
    assert RUNTIME.failure(1, log).code == "shard_died"


def test_details_tell_the_tokens_of_its_own_protocol() -> None:
    usage = RUNTIME.usage("/generate", {"details": {"generated_tokens": 7, "prefill": [{}, {}]}})
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (2, 7)
    assert RUNTIME.usage("/generate", {"generated_text": "hi"}) is None
