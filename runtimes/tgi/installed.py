"""Where this host has TGI: a launcher on it, or an image for its container engine."""

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.runtimes import Failure

LAUNCHER = "text-generation-launcher"
COMMAND, DEVICE = "MODELYARD_TGI_COMMAND", "MODELYARD_TGI_DEVICE"
IMAGE, CLIENT = "MODELYARD_TGI_IMAGE", "MODELYARD_TGI_CONTAINER_CLIENT"
CLIENTS = ("docker", "podman")


@dataclass(frozen=True)
class Installed:
    """`command` is TGI's launcher, or the client that runs `image`."""

    command: Sequence[str]
    image: str = ""


def device() -> str:
    """What TGI was built for: `cuda` unless told, else `cpu`, `rocm`, `xpu`."""
    return os.environ.get(DEVICE, "").strip().lower() or "cuda"


def installed() -> Installed:
    """What the settings name, else the launcher on PATH; Failure with what to set if there is none."""
    given, image = (os.environ.get(name, "").strip() for name in (COMMAND, IMAGE))
    if image and not given:
        return Installed([_client(image)], image)
    try:
        words = shlex.split(given) or [LAUNCHER]
    except ValueError as error:
        raise Failure("bad_command", f"{COMMAND} can't be read: {error}.", "Correct its quotes.",
                      permanent=True) from None  # fmt: skip
    program = shutil.which(words[0])
    if program is None:
        raise _missing(given, words[0])
    return Installed([program, *words[1:]])


def _client(image: str) -> str:
    given = os.environ.get(CLIENT, "").strip()
    for name in [given] if given else CLIENTS:
        if program := shutil.which(name):
            return program
    wanted = given or " or ".join(CLIENTS)
    raise Failure(
        "no_container_client", f"{IMAGE} names {image}, and this host has no {wanted} to run it.",
        f"Install one, or set {CLIENT} to its path.", permanent=True,
    )  # fmt: skip


def _missing(given: str, name: str) -> Failure:
    if given:
        message = f"{COMMAND} names {name}, which isn't an executable on this host."
        return Failure("not_installed", message, "Correct its path.", permanent=True)
    return Failure(
        "not_installed", "TGI isn't installed on this host.",
        f"Set {COMMAND} to a {LAUNCHER} or {IMAGE} to an image of it, or use vLLM, as TGI's makers suggest.",
        permanent=True,
    )  # fmt: skip
