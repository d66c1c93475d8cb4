"""The conformance suite of runtime plugins: subclass `RuntimeConformance` in your tests and run pytest.

It starts the plugin's engine for real, owned as in production, and needs pytest, which Modelyard itself doesn't.
"""

import pytest

for _part in ("explained", "declared", "serving", "ending", "optimizing"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from modelyard.runtimes.testing.engine import Engine, describe  # noqa: E402 (asserts are rewritten before the import)
from modelyard.runtimes.testing.explained import assert_explained  # noqa: E402
from modelyard.runtimes.testing.suite import RuntimeConformance  # noqa: E402

__all__ = ["Engine", "RuntimeConformance", "assert_explained", "describe"]
