"""The suite as a plugin author sees it."""

from modelyard.runtimes.testing.declared import Declared
from modelyard.runtimes.testing.ending import Ending
from modelyard.runtimes.testing.optimizing import Optimizing
from modelyard.runtimes.testing.serving import Serving


class RuntimeConformance(Declared, Serving, Ending, Optimizing):
    """Subclass it as `TestMyRuntime`, set `runtime`, write `model()`, run pytest.

    The engine is real, owned by a shim as in production, so what passes here behaves there. A test that fails says
    what the platform, or a person at it, would have met.
    """
