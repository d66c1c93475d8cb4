"""The engine's counters, in Prometheus' text format."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    """Observations in buckets."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """The histogram as Prometheus reads it."""
        total = 0
        lines = [f"# TYPE {name} histogram"]
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class Measures:
    """What the engine counts: requests by endpoint and status, batches, tokens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._abandoned = 0
        self._tokens = 0
        self._latency = Histogram(SECONDS)
        self._inference = Histogram(SECONDS)
        self._batches = Histogram(SIZES)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """One answered request."""
        with self._lock:
            self._requests[endpoint, status] += 1
            self._latency.observe(seconds)

    def abandoned(self) -> None:
        """A request whose caller went away."""
        with self._lock:
            self._abandoned += 1

    def tokens(self, count: int) -> None:
        """Prompt tokens of one request."""
        with self._lock:
            self._tokens += count

    def batch(self, size: int, seconds: float) -> None:
        """One run of the graph."""
        with self._lock:
            self._batches.observe(size)
            self._inference.observe(seconds)

    def render(self, gauges: Mapping[str, int]) -> bytes:
        """Everything, with the gauges as they stand."""
        with self._lock:
            lines = [*self._counters(), *self._latency.lines("modelyard_onnx_request_seconds")]
            lines += self._inference.lines("modelyard_onnx_inference_seconds")
            lines += self._batches.lines("modelyard_onnx_batch_size")
        for name, value in gauges.items():
            lines += [f"# TYPE modelyard_onnx_{name} gauge", f"modelyard_onnx_{name} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def _counters(self) -> list[str]:
        requests = [
            f'modelyard_onnx_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
            for (endpoint, status), count in sorted(self._requests.items())
        ]
        errors = sum(count for (_, status), count in self._requests.items() if status >= 400)
        return [
            "# TYPE modelyard_onnx_requests_total counter",
            *requests,
            "# TYPE modelyard_onnx_errors_total counter",
            f"modelyard_onnx_errors_total {errors}",
            "# TYPE modelyard_onnx_abandoned_total counter",
            f"modelyard_onnx_abandoned_total {self._abandoned}",
            "# TYPE modelyard_onnx_prompt_tokens_total counter",
            f"modelyard_onnx_prompt_tokens_total {self._tokens}",
        ]
