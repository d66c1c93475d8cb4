"""Serves the loaded model over HTTP until it is told to stop."""

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn

from .app import App
from .service import Service

log = logging.getLogger(__name__)

GRACE_SECONDS = 25
KEEP_ALIVE_SECONDS = 75
"""Longer than a gateway keeps idle connections, so that it never writes to one that just closed."""


class _Server(uvicorn.Server):
    """uvicorn, except that a stop that was asked for ends with status 0 and refuses new work meanwhile."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._service.draining:
            log.info("stopping: finishing what runs")
        self._service.draining = True
        super().handle_exit(sig, frame)


def run(service: Service, secret: str, max_body_bytes: int, listener: socket.socket) -> None:
    """Returns when everything that was accepted is answered after SIGTERM."""
    config = uvicorn.Config(
        App(service, secret, max_body_bytes),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    log.info("listening on %s:%d", host, port)
    _Server(config, service).run(sockets=[listener])
    log.info("stopped")
