"""Where this host has TGI: a launcher on it, or an image for its container engine."""

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.runtimes import Failure

LAUNCHER = "text-generation-launcher"
COMMAND, DEVICE = "MODELYARD_TGI_COMMAND", "MODELYARD_TGI_DEVICE"


@dataclass(frozen=True)
class Installed:
    """How TGI is started, as an argument list to which its own arguments are added."""

    command: Sequence[str]


def device() -> str:
    """What TGI was built for: `cuda` unless told, else `cpu`, `rocm`, `xpu`."""
    return os.environ.get(DEVICE, "").strip().lower() or "cuda"


def installed() -> Installed:
    """What the settings name, else the launcher on PATH; Failure with what to set if there is none."""
    given = os.environ.get(COMMAND, "").strip()
    try:
        words = shlex.split(given) or [LAUNCHER]
    except ValueError as error:
        raise Failure("bad_command", f"{COMMAND} can't be read: {error}.", "Correct its quotes.",
                      permanent=True) from None  # fmt: skip
    program = shutil.which(words[0])
    if program is None:
        raise _missing(given, words[0])
    return Installed([program, *words[1:]])


def _missing(given: str, name: str) -> Failure:
    if given:
        message = f"{COMMAND} names {name}, which isn't an executable on this host."
        return Failure("not_installed", message, "Correct its path.", permanent=True)
    return Failure(
        "not_installed", "TGI isn't installed on this host.",
        f"Set {COMMAND} to a {LAUNCHER}, or use vLLM, which TGI's makers suggest.", permanent=True,
    )  # fmt: skip
