"""What this process has answered, per deployment: counted on the way, read by /metrics."""

from collections import defaultdict

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LEARNED = 256.0  # completion tokens that a call is taken for until one was seen


class Traffic:
    """What one deployment was called for, since this process began. Histograms count by the bounds in SECONDS."""

    def __init__(self, deployment_id: str) -> None:
        self.deployment_id = deployment_id
        self.open = 0  # requests being answered
        self.statuses: dict[int, int] = defaultdict(int)
        self.errors: dict[str, int] = defaultdict(int)  # by the gateway's code
        self.limited: dict[tuple[str, str], int] = defaultdict(int)  # by whose limit, and of what
        self.first_byte = [0] * (len(SECONDS) + 1)
        self.first_byte_sum = 0.0
        self.duration = [0] * (len(SECONDS) + 1)
        self.duration_sum = 0.0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.learned = LEARNED  # completion tokens of a call, on average


class Metrics:
    """The traffic of this process."""

    def __init__(self) -> None:
        self.traffic: dict[str, Traffic] = {}
        self.refused: dict[str, int] = defaultdict(int)  # before a deployment was known, by code

    def of(self, deployment_id: str) -> Traffic:
        """The traffic of one deployment."""
        found = self.traffic.get(deployment_id)
        if found is None:
            found = self.traffic[deployment_id] = Traffic(deployment_id)
        return found
