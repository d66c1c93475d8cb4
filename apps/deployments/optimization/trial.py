"""One side of a proof: what an engine answers to the samples and how fast, in slices that survive a worker."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from apps.deployments.optimization.agreement import Answer, Unreadable, read
from modelyard.runtimes import Failure, SampleRequest

WARM_UP = 2  # requests before the first that counts
CLIENTS = 4  # at a time, for the throughput
THROUGHPUT_SECONDS = 3.0
REQUEST_SECONDS = 60.0


@dataclass
class Trial:
    """What has been measured so far. Seconds; `answers` has None for a sample that the engine refused."""

    load_seconds: float | None = None
    latencies: list[float] = field(default_factory=list)
    answers: list[dict[str, Any] | None] = field(default_factory=list)
    requests_per_second: float | None = None
    peak_memory: int = 0
    launch: str = ""

    @classmethod
    def of(cls, path: Path, launch: str) -> Self:
        """What an earlier slice kept; from the start if the engine has been started again since."""
        try:
            kept = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return cls(launch=launch)
        return kept if kept.launch == launch else cls(launch=launch)

    def keep(self, path: Path) -> None:
        """Write it down for the next slice, in one step."""
        made = path.with_suffix(".new")
        made.write_text(json.dumps(asdict(self)))
        made.replace(path)

    @property
    def done(self) -> bool:
        """Whether nothing is left to measure."""
        return self.requests_per_second is not None

    def outcomes(self) -> list[Answer | None]:
        """The answers as they are compared."""
        return [Answer(**answer) if answer is not None else None for answer in self.answers]


class Client:
    """Calls an engine as the gateway does: with its secret, on loopback."""

    def __init__(self, base_url: str, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        self.http = httpx.Client(base_url=base_url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False)

    def ask(self, request: SampleRequest) -> tuple[float, httpx.Response]:
        """Seconds, and the answer. Failure if there was none."""
        started = time.perf_counter()
        try:
            answer = self.http.request(request.method, request.path, json=dict(request.body))
        except httpx.HTTPError as error:
            raise Failure(
                "proof_no_answer",
                f"The engine gave no answer to a sample: {type(error).__name__}.",
                "Look at the log's last lines, then re-trigger.",
            ) from None
        return time.perf_counter() - started, answer


def advance(
    trial: Trial,
    client: Client,
    requests: Sequence[SampleRequest],
    until: float,
    hold_on: Callable[[], None],
    *,
    strict: bool,
) -> None:
    """Go on until that moment (of `time.monotonic`). With `strict`, a sample that is refused is a Failure.

    `hold_on` is called before each request, and may raise to end it: then somebody else measures this engine.
    """
    if not trial.latencies:
        for request in requests[:WARM_UP]:
            hold_on()
            client.ask(request)
    while len(trial.latencies) < len(requests):
        if time.monotonic() > until:
            return
        hold_on()
        number = len(trial.latencies)
        seconds, answer = client.ask(requests[number])
        trial.latencies.append(seconds)
        trial.answers.append(_outcome(answer, number, strict=strict))
    hold_on()
    trial.requests_per_second = _throughput(client, requests)


def _outcome(answer: httpx.Response, number: int, *, strict: bool) -> dict[str, Any] | None:
    if answer.is_success:
        try:
            return read(answer.json()).as_json()
        except (Unreadable, ValueError) as error:
            raise Failure(
                "proof_unreadable",
                f"The answer to sample {number + 1} can't be compared: {error}.",
                "Deploy without the optimization, or give samples of a task that can be compared.",
                permanent=True,
            ) from None
    if strict:
        raise Failure(
            "proof_sample_refused",
            f"The original model refused sample {number + 1} with {answer.status_code}: {answer.text[:200]}",
            "Mend that line of the samples, then re-deploy.",
            permanent=True,
        )
    return None


def _throughput(client: Client, requests: Sequence[SampleRequest]) -> float:
    """Answers a second with a few clients at a time."""
    end = time.monotonic() + THROUGHPUT_SECONDS

    def work(client_number: int) -> int:
        done = 0
        while time.monotonic() < end or not done:
            client.ask(requests[(client_number + done * CLIENTS) % len(requests)])
            done += 1
        return done

    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        total = sum(pool.map(work, range(CLIENTS)))
    return total / (time.monotonic() - started)
