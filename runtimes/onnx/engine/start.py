"""Starts the engine: binds, loads, warms up, serves, and stops in order."""

import argparse
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from .exits import ERROR_PREFIX, Exit, StartFailure

log = logging.getLogger(__name__)

SECRET_VARIABLE = "MODELYARD_ENGINE_SECRET"  # noqa: S105 (the name of the variable)
BACKLOG = 1024


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise StartFailure(Exit.BAD_OPTIONS, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="modelyard-onnx", description="Serves one ONNX model.")
    parser.add_argument("--folder", type=Path, required=True, help="the model's folder")
    parser.add_argument("--graph", type=Path, required=True, help="the .onnx file to load")
    parser.add_argument("--name", required=True, help="the name that callers use")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0, help="inferences at a time, 0 chooses")
    parser.add_argument("--intra-op-threads", type=int, default=0, help="threads of one inference, 0 chooses")
    parser.add_argument("--max-batch-size", type=int, default=0, help="rows or short texts together, 0 measures")
    parser.add_argument("--max-batch-delay-ms", type=float, default=0.0)
    parser.add_argument("--max-queue", type=int, default=256, help="waiting requests")
    parser.add_argument("--pooling", choices=["auto", "mean", "cls", "max", "none"], default="auto")
    parser.add_argument("--normalize", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--max-length", type=int, default=0, help="tokens, 0 for the model's own")
    parser.add_argument("--max-body-bytes", type=int, default=32 << 20)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the engine; the exit status says why it ended."""
    return guarded(lambda: _serve(_options(argv)))


def guarded(run: Callable[[], None]) -> int:
    """Runs it; what goes wrong becomes one line and an exit status."""
    # onnxruntime's official builds report model names and machine facts to their maker unless this is set before import
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="modelyard-onnx: %(message)s")
    try:
        run()
    except StartFailure as failure:
        return _failed(failure)
    except MemoryError:
        return _failed(StartFailure(Exit.OUT_OF_MEMORY, "there is not enough memory to load the model"))
    except OSError as error:
        status = Exit.DISK_FULL if error.errno == errno.ENOSPC else Exit.INTERNAL
        return _failed(StartFailure(status, str(error)))
    return 0


def _failed(failure: StartFailure) -> int:
    line = " ".join(failure.message.split())
    sys.stderr.write(f"{ERROR_PREFIX}{failure.status.code}: {line}\n")
    sys.stderr.flush()
    return int(failure.status)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    options = _parser().parse_args(argv)
    numbers = ("workers", "intra_op_threads", "max_batch_size", "max_batch_delay_ms", "max_length")
    negative = [name for name in numbers if getattr(options, name) < 0]
    if negative:
        raise StartFailure(Exit.BAD_OPTIONS, f"{', '.join(negative)} can't be negative")
    if options.max_queue < 1 or not 0 < options.port < 1 << 16:
        raise StartFailure(Exit.BAD_OPTIONS, "max_queue and port have to be above 0, and port below 65536")
    return options


def _serve(options: argparse.Namespace) -> None:
    secret = os.environ.pop(SECRET_VARIABLE, "")
    if not secret:
        raise StartFailure(Exit.BAD_OPTIONS, f"{SECRET_VARIABLE} is not set")
    with _bound(options.host, options.port) as listener:
        try:
            from . import loading, server
        except ImportError as error:
            raise StartFailure(Exit.MISSING_PACKAGE, f"{sys.executable} lacks a part of the engine: {error}") from error
        service = loading.load(options)
        _listen(listener)
        server.run(service, secret, options.max_body_bytes, listener)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """The port is taken before the model loads, so that a conflict shows at once; it listens only afterwards."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        yield listener


def _listen(listener: socket.socket) -> None:
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> StartFailure:
    status = Exit.PORT_IN_USE if error.errno == errno.EADDRINUSE else Exit.BAD_OPTIONS
    return StartFailure(status, f"can't listen on {host}:{port}: {error.strerror or error}")
