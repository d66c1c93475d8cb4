"""A launcher of its own for each test; nothing that it started outlives the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.launchers.local import LocalLauncher, stop_all
from tests.launchers.engines import processes_of, wait


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    found = LocalLauncher(tmp_path / "engines")
    yield found
    stop_all(found.root, patience=0)
    wait(lambda: not processes_of(found), "processes were left behind")
