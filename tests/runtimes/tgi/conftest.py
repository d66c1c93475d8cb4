"""The stand-in launcher in the place of TGI, on a host that is told to do without a GPU."""

from collections.abc import Iterator

import pytest

from tests.runtimes.tgi.models import STAND_IN


@pytest.fixture(autouse=True, scope="session")
def _stand_in() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_TGI_COMMAND", str(STAND_IN / "text-generation-launcher"))
        patch.setenv("MODELYARD_TGI_DEVICE", "cpu")
        patch.delenv("MODELYARD_TGI_IMAGE", raising=False)
        yield
