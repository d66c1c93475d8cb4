"""How `text-generation-launcher` is started: on this host, or in a container."""

import contextlib
import socket
from pathlib import Path

from modelyard.runtimes import Command, LaunchContext
from runtimes.tgi import container, key
from runtimes.tgi.arguments import OFFLINE, adapters, arguments
from runtimes.tgi.installed import Installed, installed
from runtimes.tgi.options import TgiOptions

SOCKET_ROOM = 90
"""Bytes of a socket's path: the system takes 107, and each shard adds its number."""
WORKING_FOLDER = Path("/proc/self/cwd")
"""Every process of TGI works in the launch's own folder, so this names it whatever its path's length."""
SWEEP_SECONDS = 10.0
"""For what is left after the router and the shards had their patience."""


def command(launch: LaunchContext[TgiOptions]) -> Command:
    """By what there is of TGI."""
    found = installed()
    if found.image:
        return container.command(found, launch, stop_seconds(launch.options))
    return _on_host(found, launch)


def _on_host(found: Installed, launch: LaunchContext[TgiOptions]) -> Command:
    port, master = free_ports(2, launch.port)
    argv = [*found.command, "--model-id", str(launch.model.path)]
    argv += ["--hostname", launch.host, "--port", str(launch.port)]
    argv += ["--prometheus-port", str(port), "--master-port", str(master)]
    argv += ["--shard-uds-path", str(sockets(launch.workdir))]
    argv += arguments(launch.options)
    if launch.options.lora_adapters:
        argv += ["--lora-adapters", adapters(launch.options, launch.model.path.parent)]
    env = {**environment(launch.workdir), **key.environment(launch), **key.before_the_router(launch.workdir)}
    return Command(argv, env, stop_seconds(launch.options))


def environment(folder: Path) -> dict[str, str]:
    """Everything is written to that folder."""
    return OFFLINE | {
        "HF_HOME": str(folder / "hf"),
        "HUGGINGFACE_HUB_CACHE": str(folder / "hf" / "hub"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TRITON_CACHE_DIR": str(folder / "cache" / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache" / "inductor"),
    }


def stop_seconds(options: TgiOptions) -> float:
    """The launcher gives the router its patience, then the shards theirs."""
    return 2 * options.graceful_seconds + SWEEP_SECONDS


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
