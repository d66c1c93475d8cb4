"""Callers and engines that misbehave in every way at once: afterwards nothing is held, and no fault was logged."""

import contextlib
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from apps.apikeys.models import ApiKey
from apps.deployments.gateway import inflight
from apps.deployments.models import Replica
from apps.deployments.usage.models import UsageDay, UsageRecord
from modelyard import changes
from tests.gateway.conftest import Make, Yard, eventually, start_web

pytestmark = pytest.mark.system
BEHAVIOURS = ("json", "usage", "events", "headers", "endless", "flood", "close", "close_reused", "cut", "short",
              "garbage", "until_close", "early_hints", "crash", "busy", "full", "refused", "no_content")  # fmt: skip
FAULTS = (
    "Exception in",
    "exception was never",
    "a request failed",
    "Fatal",
    "never awaited",
)  # what a log says of ours
SECONDS = 8


def misbehave(yard: Yard, dice: random.Random, until: float) -> None:
    """One caller after another."""
    host, _, port = yard.address.removeprefix("http://").partition(":")
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1) as raw:
            for _ in range(dice.randint(1, 4)):
                send(raw, request(yard, dice), dice)
                if dice.random() < 0.7:
                    raw.settimeout(dice.choice([0.01, 0.05, 0.3]))
                    raw.recv(dice.choice([10, 1000, 65536]))


def request(yard: Yard, dice: random.Random) -> bytes:
    body = b'{"stream":true,"messages":["%b"]}' % (b"a" * dice.choice([0, 10, 5000, 1_200_000]))
    key = yard.key if dice.random() < 0.95 else "myk_wrong"
    path = dice.choice(["/v1/chat/completions"] * 8 + ["/v1/models", "/healthz", "/v1/../x"])
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}"]
    lines.append(f"X-Behave: {dice.choice(BEHAVIOURS)}")
    if dice.random() < 0.1:
        lines.append("Expect: 100-continue")
    if dice.random() < 0.1:
        lines += ["Connection: Upgrade", "Upgrade: h2c"]
    if dice.random() < 0.3:
        size = dice.choice([1, 100, 100_000])
        parts = [body[at : at + size] for at in range(0, len(body), size)][:2000]
        content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        lines.append("Transfer-Encoding: chunked")
    else:
        content = body
        lines.append(f"Content-Length: {len(body)}")
    whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
    if dice.random() < 0.1:
        at = dice.randrange(len(whole))
        whole = whole[:at] + dice.randbytes(20) + whole[at:]
    return whole[: dice.randrange(len(whole))] if dice.random() < 0.15 else whole


def send(raw: socket.socket, data: bytes, dice: random.Random) -> None:
    step = dice.choice([len(data), len(data), 100_000, 1000])
    for at in range(0, len(data), step)[:50]:
        raw.sendall(data[at : at + step])


def test_nothing_is_held_after_callers_and_engines_misbehaved(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    process, address = start_web(MODELYARD_GATEWAY_TIMEOUT="1")
    try:
        yard = make(engines=2, address=address)
        ApiKey.objects.update(concurrent_requests=60, tokens_per_day=10**12, requests_per_minute=10**8)
        seed = random.randrange(10**6)
        until = time.monotonic() + SECONDS
        callers = [
            threading.Thread(target=misbehave, args=(yard, random.Random(seed + number), until), daemon=True)
            for number in range(12)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(SECONDS + 20)
        assert yard.post("usage").status_code == 200, seed
        eventually(lambda: all(inflight.total(pk) == 0 for pk in Replica.objects.values_list("pk", flat=True)), 10)
        eventually(lambda: places() <= 1, 10)  # one is kept free for the next call
        time.sleep(1.5)
        rows = UsageRecord.objects.count()
        assert rows > 50, seed
        assert sum(UsageDay.objects.values_list("requests", flat=True)) == rows
    finally:
        process.terminate()
        process.wait(20)
    said = capfd.readouterr().err
    for fault in FAULTS:
        assert fault not in said, f"seed {seed}: {said[max(said.index(fault) - 500, 0) :][:4000]}"


def places() -> int:
    """Places for requests at once that are held for the key, of all processes."""
    with changes.connection() as client:
        held = client.hgetall(f"modelyard:limit:key:{ApiKey.objects.get().account}:now")
    return sum(int(text.decode().split(":")[0]) for text in held.values())
