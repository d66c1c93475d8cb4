"""The suite on TGI, with the stand-in launcher."""

import functools
import tempfile
from pathlib import Path

from modelyard.runtimes import Model
from modelyard.runtimes.testing import RuntimeConformance
from runtimes.tgi import TgiRuntime
from tests.runtimes.tgi.models import served


@functools.cache
def _made() -> tuple[tempfile.TemporaryDirectory[str], Model]:
    """The folder lives as long as it is held."""
    scratch = tempfile.TemporaryDirectory(prefix="tgi-")
    return scratch, served(Path(scratch.name) / "model")


class TestTgi(RuntimeConformance):
    runtime = TgiRuntime()
    options = {"graceful_seconds": 5}

    @classmethod
    def model(cls) -> Model:
        return _made()[1]
