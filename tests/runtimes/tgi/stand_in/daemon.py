"""Stands in for a container engine: its containers outlive their clients. `python daemon.py SOCKET [--keep-input]`.

As podman does, `--keep-input` leaves a container's input open when its client is killed.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
CONTAINERS = {}
LOCK = threading.Lock()
KNOWN = {"--rm", "--interactive", "--pull=never", "--shm-size=1g", "--security-opt=no-new-privileges", "--gpus=all"}


class Client(socketserver.BaseRequestHandler):
    def handle(self):
        _, outputs, _, _ = socket.recv_fds(self.request, 1, 2)
        self.lines = self.request.makefile("rb")
        asked = json.loads(self.lines.readline())
        try:
            code = {"run": self.run, "rm": self.rm}[asked["argv"][0]](asked, outputs)
        finally:
            for output in outputs:
                os.close(output)
        with contextlib.suppress(OSError):
            self.request.sendall(f"{code}\n".encode())

    def rm(self, asked, outputs):
        with LOCK:
            found = CONTAINERS.get(asked["argv"][-1])
        if found:
            end(found)
            found.wait()
        return 0 if found else 1

    def run(self, asked, outputs):
        given, image, inside = split(asked["argv"][1:])
        if image == "missing":
            os.write(outputs[1], b"docker: Error response from daemon: No such image: missing\n")
            return 125
        place = tempfile.mkdtemp(prefix="container-")
        with LOCK:
            if given["--name"] in CONTAINERS:
                os.write(outputs[1], b"docker: Conflict. The container name is already in use\n")
                return 125
            container = start(given, inside, asked["env"], place, outputs)
            CONTAINERS[given["--name"]] = container
        threading.Thread(target=self.relay, args=(container,), daemon=True).start()
        code = container.wait()
        end(container)
        with LOCK:
            del CONTAINERS[given["--name"]]
        shutil.rmtree(place, ignore_errors=True)
        return code if code >= 0 else 128 - code

    def relay(self, container):
        for line in self.lines:
            what = json.loads(line)
            with contextlib.suppress(OSError, ValueError):
                if "signal" in what:
                    container.send_signal(what["signal"])
                elif what["input"]:
                    container.stdin.write(what["input"].encode())
                    container.stdin.flush()
                else:
                    container.stdin.close()
        if "--keep-input" not in sys.argv:
            with contextlib.suppress(OSError):
                container.stdin.close()


def split(arguments):
    """Options by name, the image, and what runs in it; options that docker doesn't have are refused."""
    given = {"--env": [], "--mount": []}
    for index, argument in enumerate(arguments):
        if not argument.startswith("--"):
            return given, argument, arguments[index + 1 :]
        name, _, value = argument.partition("=")
        if name in {"--env", "--mount"}:
            given[name].append(value)
        elif name in {"--name", "--publish", "--entrypoint"}:
            given[name] = value
        elif argument not in KNOWN:
            raise ValueError(f"unknown flag: {argument}")
    raise ValueError("no image")


def start(given, inside, env, place, outputs):
    """The host's address and paths stand in for the container's own; the rest is as the container sees it."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        own = {"PROMETHEUS_PORT": str(held.getsockname()[1])}
    own |= {"PATH": f"{HERE}:{os.environ['PATH']}", "SHARD_UDS_PATH": f"{place}/shard", "HOSTNAME": "0123456789ab"}
    own |= {name: env[name] for name in given["--env"] if name in env}
    address, outer, inner = given["--publish"].split(":")
    assert outer == inner
    for mount in given["--mount"]:
        about = dict(part.partition("=")[::2] for part in mount.split(","))
        assert "readonly" in about
        inside = [word.replace(about["target"], about["source"]) if word.startswith("/") else word for word in inside]
    inside = [address if word == "0.0.0.0" else word for word in inside]
    return subprocess.Popen(
        [given["--entrypoint"], *inside], env=own, cwd=place, stdin=subprocess.PIPE, stdout=outputs[0],
        stderr=outputs[1], start_new_session=True,
    )  # fmt: skip


def end(container):
    """The end of a container's first process is the end of all: they share its session here."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == container.pid:
                os.kill(process.pid, signal.SIGKILL)


class Daemon(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def main(place):
    daemon = Daemon(place, Client)

    def stop(*_):
        for container in list(CONTAINERS.values()):
            end(container)
        os._exit(len(CONTAINERS))

    signal.signal(signal.SIGTERM, stop)
    daemon.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
