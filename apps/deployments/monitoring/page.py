"""`GET /metrics`, an ASGI application below Django: it answers without a database, and under every host name."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from apps.deployments.gateway import addresses
from apps.deployments.monitoring import snapshots
from apps.deployments.monitoring.engines import Asker
from apps.deployments.monitoring.exposition import Exposition
from apps.deployments.monitoring.facts import Source

if TYPE_CHECKING:
    from apps.deployments.gateway.app import Gateway

PATH = "/metrics"
PLAIN = "text/plain; charset=utf-8"
WRONG = "This needs the metrics token: send `Authorization: Bearer` and the value of MODELYARD_METRICS_TOKEN.\n"
REMOTE = (
    "Without a token the metrics are for this host only. Set MODELYARD_METRICS_TOKEN for the web process, and send it "
    "as `Authorization: Bearer …`.\n"
)

Send = Callable[[Any], Awaitable[None]]
Answer = tuple[int, str, bytes]


class Page:
    """Answers scrapes for the gateway of this process."""

    def __init__(self, gateway: "Gateway") -> None:
        self.gateway = gateway
        self.source = Source()
        self.engines = Asker()

    async def __call__(self, scope: Any, send: Send) -> None:
        """ASGI, but for what the request sends: nothing of it is read."""
        status, kind, body = await self._answer(scope)
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)),
                   (b"cache-control", b"no-store")]  # fmt: skip
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Any) -> Answer:
        refused = self._refused(scope)
        if refused:
            return refused
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, PLAIN, b"The metrics are read with GET.\n"
        asked = b",".join(value for name, value in scope["headers"] if name == b"accept")
        return await self._scrape(asked.decode("ascii", "replace"))

    def _refused(self, scope: Any) -> Answer | None:
        headers = scope["headers"]
        if settings.METRICS_TOKEN:
            given = [value for name, value in headers if name == b"authorization"]
            wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
            if len(given) == 1 and hmac.compare_digest(given[0], wanted):
                return None
            return 401, PLAIN, WRONG.encode()
        peer = scope["client"][0] if scope["client"] else ""
        return None if addresses.local(peer, headers, self.gateway.trusted) else (403, PLAIN, REMOTE.encode())

    async def _scrape(self, accept: str) -> Answer:
        gateway = self.gateway
        own, facts = await asyncio.gather(snapshots.write(gateway, gateway.place), self.source.read())
        readings = await self.engines.read(facts) if facts else []
        return await asyncio.to_thread(self._rendered, accept, own, facts, readings)

    def _rendered(self, accept: str, own: snapshots.Snapshot, facts: Any, readings: Any) -> Answer:
        others = [each for each in snapshots.read(settings.RUN_DIR) if each.process != own.process]
        everything = sorted([own, *others], key=lambda each: int(each.process))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Exposition(everything, facts, readings, database=self.source.answers))
        encode, kind = encoder(accept)
        return 200, kind, encode(registry)

    async def close(self) -> None:
        """Hang up on engines."""
        await self.engines.close()


def encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """OpenMetrics for who asks for it, else Prometheus' text format."""
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is none
        return choose_encoder("")
