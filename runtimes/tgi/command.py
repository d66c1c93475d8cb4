"""How `text-generation-launcher` is started."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from modelyard.runtimes import Command, LaunchContext
from runtimes.tgi.installed import installed
from runtimes.tgi.options import TgiOptions

SOCKET_ROOM = 90
"""Bytes of a socket's path: the system takes 107, and each shard adds its number."""
WORKING_FOLDER = Path("/proc/self/cwd")
"""Every process of TGI works in the launch's own folder, so this names it whatever its path's length."""
SWEEP_SECONDS = 10.0
"""For what is left after the router and the shards had their patience."""

GIVEN = ("max_input_tokens", "max_total_tokens", "max_batch_prefill_tokens", "max_batch_total_tokens", "dtype",
         "quantize", "kv_cache_dtype", "cuda_graphs", "speculate", "rope_scaling", "rope_factor")  # fmt: skip
"""Options that are arguments of the same name where they are set; unset they are TGI's own choice."""


def command(launch: LaunchContext[TgiOptions]) -> Command:
    """The launcher on this host."""
    port, master = free_ports(2, launch.port)
    argv = [*installed().command, "--model-id", str(launch.model.path)]
    argv += ["--hostname", launch.host, "--port", str(launch.port)]
    argv += ["--prometheus-port", str(port), "--master-port", str(master)]
    argv += ["--shard-uds-path", str(sockets(launch.workdir))]
    argv += arguments(launch.options)
    if launch.options.lora_adapters:
        argv += ["--lora-adapters", adapters(launch.options, launch.model.path.parent)]
    return Command(argv, environment(launch.workdir) | {"API_KEY": launch.secret}, stop_seconds(launch.options))


def arguments(options: TgiOptions) -> Iterator[str]:
    """What doesn't depend on where TGI runs."""
    yield from ("--usage-stats", "off", "--num-shard", str(options.num_shard))
    yield from ("--sharded", "true" if options.num_shard > 1 else "false")
    yield from ("--max-concurrent-requests", str(options.max_concurrent_requests))
    yield from ("--cuda-memory-fraction", f"{options.cuda_memory_fraction:g}")
    yield from ("--graceful-termination-timeout", str(options.graceful_seconds))
    for name in GIVEN:
        if value := getattr(options, name):
            yield from (f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value))
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.disable_grammar_support:
        yield "--disable-grammar-support"
    yield from options.extra_args


def adapters(options: TgiOptions, folder: Path) -> str:
    """Names and folders of the adapters, whose models lie in that folder."""
    pairs = (adapter.partition("=") for adapter in options.lora_adapters)
    return ",".join(f"{name}={folder / model_id}" for name, _, model_id in pairs)


def environment(folder: Path) -> dict[str, str]:
    """Nothing is fetched, and everything is written to that folder."""
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "HUGGINGFACE_HUB_CACHE": str(folder / "hf" / "hub"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TRITON_CACHE_DIR": str(folder / "cache" / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache" / "inductor"),
        "TOKENIZERS_PARALLELISM": "false",
    }


def stop_seconds(options: TgiOptions) -> float:
    """The launcher gives the router its patience, then the shards theirs."""
    return min(2 * options.graceful_seconds + SWEEP_SECONDS, 300.0)


def sockets(workdir: Path) -> Path:
    """Where the shards listen; each adds its number to it."""
    path = workdir / "shard"
    return path if len(bytes(path)) <= SOCKET_ROOM else WORKING_FOLDER / "shard"


def free_ports(count: int, taken: int) -> list[int]:
    """Ports that nobody has now. Should one be taken a moment later, TGI says so and is started again."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            port = int(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            if port != taken:
                found.append(port)
        return found
