"""How TGI is started in a container, which ends for sure with the process that owns it."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from modelyard.runtimes import Command, LaunchContext
from runtimes.tgi import key
from runtimes.tgi.arguments import OFFLINE, adapters, arguments
from runtimes.tgi.installed import Installed, device
from runtimes.tgi.options import TgiOptions

ENGINE = Path(__file__).resolve().parent / "engine"
MODEL, ADAPTERS = Path("/model"), Path("/adapters")
SILENCE_SECONDS = 60
"""How long the container goes on without a sign of life from its owner."""
LEEWAY_SECONDS = 15.0
"""Between the steps of the end: the launcher's own, the container's, the owner's."""
CLIENT = ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "DOCKER_HOST", "DOCKER_CONTEXT",
          "DOCKER_CONFIG", "CONTAINER_HOST", "CONTAINERS_CONF")  # fmt: skip
"""Of the worker's environment: where the client finds its images and its daemon."""
DEVICES = {"rocm": ("--device=/dev/kfd", "--device=/dev/dri"), "xpu": ("--device=/dev/dri",), "cpu": ()}


def command(found: Installed, launch: LaunchContext[TgiOptions], patience: float) -> Command:
    """The owner of the container, which runs it; the secret is passed on by its name."""
    program = found.command[0]
    run = [*_limits(program), *_places(launch), *_environment(), "--entrypoint=/bin/bash", found.image]
    inside = [
        "-c",
        (ENGINE / "inside.sh").read_text(),
        "modelyard",
        f"{patience:g}",
        str(SILENCE_SECONDS),
        key.ROUTER.read_text(),
    ]
    argv = [sys.executable, "-I", str(ENGINE / "contain.py"), program, _name(launch), f"{patience + LEEWAY_SECONDS:g}"]
    found_by = {name: os.environ[name] for name in CLIENT if name in os.environ}
    env = {**found_by, **OFFLINE, **key.environment(launch)}
    return Command([*argv, *run, *inside, *_arguments(launch)], env, patience + 2 * LEEWAY_SECONDS)


def _name(launch: LaunchContext[TgiOptions]) -> str:
    """The same for every launch of a replica: a new one ends what an old one left."""
    return f"modelyard-{hashlib.sha256(str(launch.workdir).encode()).hexdigest()[:16]}"


def _limits(program: str) -> Iterator[str]:
    yield from ("--rm", "--interactive", "--pull=never", "--shm-size=1g", "--security-opt=no-new-privileges")
    if device() == "cuda":
        yield "--device=nvidia.com/gpu=all" if Path(program).name.startswith("podman") else "--gpus=all"
    yield from DEVICES.get(device(), ())


def _places(launch: LaunchContext[TgiOptions]) -> Iterator[str]:
    yield f"--publish={launch.host}:{launch.port}:{launch.port}"
    yield f"--mount=type=bind,source={launch.model.path},target={MODEL},readonly"
    for adapter in launch.options.lora_adapters:
        model_id = adapter.partition("=")[2]
        folder = launch.model.path.parent / model_id
        yield f"--mount=type=bind,source={folder},target={ADAPTERS / model_id},readonly"


def _environment() -> Iterator[str]:
    """Names only: arguments can be read by every user of the host."""
    for name in (key.SECRET, "API_KEY", *OFFLINE, "CUDA_VISIBLE_DEVICES"):
        yield f"--env={name}"


def _arguments(launch: LaunchContext[TgiOptions]) -> Iterator[str]:
    """Ports and sockets inside are the container's own; only the published one is reached from outside."""
    yield from ("--model-id", str(MODEL), "--hostname", "0.0.0.0", "--port", str(launch.port))  # noqa: S104
    yield from arguments(launch.options)
    if launch.options.lora_adapters:
        yield from ("--lora-adapters", adapters(launch.options, ADAPTERS))
