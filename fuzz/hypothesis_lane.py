"""`python -m fuzz.hypothesis_lane TARGET SECONDS`: rounds of examples until the time is over."""

import sys
import tempfile
import time
from pathlib import Path

from fuzz.process import bounded, ready

ready()

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402

from fuzz import inputs, targets  # noqa: E402

EXAMPLES = 400  # of one round


def main() -> None:
    """Ends with hypothesis's report, the smallest input that breaks the target, if there is one."""
    name, until = sys.argv[1], time.monotonic() + float(sys.argv[2])
    bounded()
    box, count = Path(tempfile.mkdtemp()), 0

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(inputs.of(name))
    def each(data: bytes) -> None:
        nonlocal count
        count += 1
        targets.run(name, box, data)

    while time.monotonic() < until:
        each()
    print(f"{name}: {count} inputs, none broke it")


if __name__ == "__main__":
    main()
