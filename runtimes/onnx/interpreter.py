"""The engine's own interpreter: which one, and whether it has what the engine needs."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from modelyard.runtimes import Failure

VARIABLE = "MODELYARD_ONNX_PYTHON"
ENGINE = Path(__file__).resolve().parent / "engine"
PARTS = ("onnxruntime", "numpy", "tokenizers", "orjson", "uvicorn")
MINIMUM = (3, 12)
ASK = """
import importlib, json, sys
missing = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        missing[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"version": sys.version_info[:2], "missing": missing}))
"""
ASK_SECONDS = 60


def interpreter() -> str:
    """The interpreter's path; raises Failure where there is none."""
    wanted = os.environ.get(VARIABLE) or sys.executable
    found = shutil.which(wanted)
    if found is None:
        raise Failure(
            "interpreter_missing",
            f"The engine's interpreter {wanted} does not exist or can't be executed.",
            f"Set {VARIABLE} to a Python that has the packages of modelyard[onnx].",
            permanent=True,
        )
    return found


def require_parts(python: str) -> None:
    """Raises Failure unless the interpreter can import the engine's parts; asked once while the answer is yes."""
    _ask(python, Path(python).stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _ask(python: str, _modified: int) -> None:
    try:
        done = subprocess.run(
            [python, "-c", ASK, *PARTS], capture_output=True, check=True, timeout=ASK_SECONDS, env=_environment()
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise _unusable(python, str(error)) from error
    if tuple(answer["version"]) < MINIMUM:
        raise _unusable(python, f"it is Python {'.'.join(map(str, answer['version']))}, 3.12 or later is needed")
    if answer["missing"]:
        raise _missing(python, answer["missing"])


def _environment() -> dict[str, str]:
    # importing onnxruntime is enough for its official builds to report to their maker
    return {"PATH": os.environ.get("PATH", ""), "ORT_DISABLE_TELEMETRY": "1"}


def _unusable(python: str, why: str) -> Failure:
    step = f"Set {VARIABLE} to a working Python 3.12 or later that has the packages of modelyard[onnx]."
    return Failure(
        "interpreter_unusable", f"The engine's interpreter {python} can't be used: {why}.", step, permanent=True
    )


def _missing(python: str, missing: dict[str, str]) -> Failure:
    names = ", ".join(missing)
    return Failure(
        "missing_package",
        f"The engine's interpreter {python} can't import {names} ({next(iter(missing.values()))}).",
        f'Run: {python} -m pip install "modelyard[onnx]", or set {VARIABLE} to a Python that has them.',
        permanent=True,
    )
