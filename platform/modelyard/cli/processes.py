"""The processes that `modelyard up` starts, each a command of its own for other supervisors."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from modelyard import environment
from modelyard.cli import setup
from modelyard.cli.bound import bind

LAST_CALL = 0.5  # seconds between closing the door and hanging up on connections without a request
SHUTDOWN_SECONDS = 3600  # a web process that was asked to end finishes its streams, however long they take
SWITCH_SECONDS = 0.0005  # that a thread that writes usage may keep requests waiting
KEEP_ALIVE_SECONDS = 75  # longer than proxies keep their connections, so that they are the ones to close them


def follow_parent() -> None:
    """End with the supervisor, even where it was killed and can't say so."""
    supervisor = int(os.environ.get("MODELYARD_SUPERVISOR") or 0)
    if not supervisor:
        return
    if not bind(supervisor, signal.SIGTERM):
        raise SystemExit(1)

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()


def tell_ready(**_: Any) -> None:
    """Tell the supervisor that this process does its work now."""
    descriptor = os.environ.pop("MODELYARD_READY_FD", "")
    if descriptor:
        with contextlib.suppress(OSError):
            os.write(int(descriptor), b"1")
            os.close(int(descriptor))


def serve(host: str, port: int, descriptor: int | None) -> None:
    """The web process: uvicorn on the given socket or address, until SIGTERM; then what runs is finished."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                tell_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Callers whose connection was accepted a moment ago have not sent their request yet: uvicorn would hang up
            # on them. So first only the door is closed.
            for server in self.servers:
                server.close()
            await asyncio.sleep(LAST_CALL)
            await super().shutdown(sockets=sockets)
            if self.force_exit:  # then uvicorn would leave without a word: what is under way has to be counted
                await self.lifespan.shutdown()

    follow_parent()
    listener = socket.socket(fileno=descriptor) if descriptor is not None else setup.listen(host, port)
    setup.prepare_django()
    from modelyard.asgi import application, gateway

    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays: the collector needn't look at it again and again
    gc.set_threshold(50_000, 20, 50)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=gateway.door,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        # Only a proxy that the operator has told of may say who calls.
        proxy_headers=environment.flag("BEHIND_TLS_PROXY"),
        timeout_graceful_shutdown=environment.number("SHUTDOWN_SECONDS", SHUTDOWN_SECONDS),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=2048,
    )
    Server(config).run(sockets=[listener])


def work(queues: str, concurrency: int) -> None:
    """A Celery worker with threads: what it does is waiting for engines and hashing, which leave the others run."""
    from celery.signals import worker_ready

    follow_parent()
    app = _celery()
    worker_ready.connect(tell_ready)
    if "control" in queues.split(","):
        worker_ready.connect(_look_at_everything)
    name = f"{queues.replace(',', '-')}-{os.getpid()}@%h"
    app.worker_main([
        "--quiet", "worker", "--queues", queues, "--pool", "threads", "--concurrency", str(concurrency),
        "--loglevel", "INFO", "--hostname", name, "--without-gossip", "--without-mingle",
    ])  # fmt: skip


def _look_at_everything(**_: Any) -> None:
    """What runs, and what should, is looked at as soon as there is a worker; beat would only ask seconds later."""
    from apps.deployments.tasks import reconcile_all

    reconcile_all.apply_async(expires=10)


def schedule() -> None:
    """Celery's scheduler."""
    from celery.signals import beat_init

    follow_parent()
    app = _celery()
    beat_init.connect(tell_ready)
    app.start(["--quiet", "beat", "--loglevel", "INFO", "--pidfile="])


def _celery() -> Any:
    """The Celery application, with Django's logging in charge and no line for each of the tasks that always come."""
    from celery.signals import setup_logging

    setup.prepare_django()
    from modelyard.celery import app

    setup_logging.connect(_keep_logging)
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return app


def _keep_logging(**_: Any) -> None:
    """Celery leaves logging alone when anybody listens to this signal."""
