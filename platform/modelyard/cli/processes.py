"""The processes that `modelyard up` starts, each a command of its own for other supervisors."""

import contextlib
import os
import signal
import socket
import threading
import time

SHUTDOWN_SECONDS = 3600  # a web process that was asked to end finishes its streams, however long they take


def follow_parent() -> None:
    """End with the supervisor, even where it was killed and can't say so."""
    supervisor = os.environ.get("MODELYARD_SUPERVISOR")
    if not supervisor:
        return

    def watch() -> None:
        while os.getppid() == int(supervisor):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()


def tell_ready() -> None:
    """Tell the supervisor that this process serves now."""
    descriptor = os.environ.get("MODELYARD_READY_FD")
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

    follow_parent()
    config = uvicorn.Config(
        "modelyard.asgi:application",
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=2048,
    )
    sockets = [socket.socket(fileno=descriptor)] if descriptor is not None else None
    Server(config).run(sockets=sockets)


def work(queues: str, concurrency: int) -> None:
    """A Celery worker with threads: what it does is waiting for engines and hashing, which leave the others run."""
    from modelyard.celery import app

    follow_parent()
    name = f"{queues.replace(',', '-')}-{os.getpid()}@%h"
    app.worker_main([
        "worker", "--queues", queues, "--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "INFO",
        "--hostname", name, "--without-gossip", "--without-mingle",
    ])  # fmt: skip


def schedule() -> None:
    """Celery's scheduler."""
    from modelyard.celery import app

    follow_parent()
    app.start(["beat", "--loglevel", "WARNING", "--pidfile="])
