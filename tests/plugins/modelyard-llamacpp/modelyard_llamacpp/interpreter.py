"""The interpreter that has the engine: this one, or the one that an operator names."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from modelyard.runtimes import Failure

VARIABLE = "MODELYARD_LLAMACPP_PYTHON"
ENGINE = Path(__file__).with_name("engine.py")
ASK = "from importlib.metadata import version; print(version('xllamacpp'))"
ASK_SECONDS = 30


def interpreter() -> str:
    """Its path; Failure if it isn't there or has no xllamacpp."""
    wanted = os.environ.get(VARIABLE) or sys.executable
    python = shutil.which(wanted)
    if python is None:
        raise Failure(
            "interpreter_missing", f"The engine's interpreter {wanted} does not exist.",
            f"Set {VARIABLE} to a Python that has the package xllamacpp.", permanent=True,
        )  # fmt: skip
    _version(python, Path(python).stat().st_mtime_ns)
    return python


@functools.lru_cache(maxsize=8)
def _version(python: str, _modified: int) -> str:
    """Asked once while the answer is yes."""
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True, timeout=ASK_SECONDS)
    except (OSError, subprocess.SubprocessError):
        raise Failure(
            "engine_missing", "llama.cpp's server isn't installed: the package xllamacpp is missing.",
            f'Run pip install "modelyard-llamacpp[engine]", or set {VARIABLE} to a Python that has xllamacpp.',
            permanent=True,
        ) from None  # fmt: skip
    return done.stdout.strip()
