"""A shard of the stand-in: loads the model, listens on a Unix socket, and writes a word for each token."""

import json
import os
import signal
import socketserver
import struct
import sys
import threading
import time
from pathlib import Path

TEXT = "a registry keeps every model with its name and its origin so that people find it again"
WORDS = TEXT.split()


class Tokens(socketserver.StreamRequestHandler):
    def handle(self):
        asked = json.loads(self.rfile.readline())
        seed = sum(asked["prompt"].encode())
        for index in range(asked["tokens"]):
            time.sleep(0.005)
            self.wfile.write(f"{WORDS[(seed + index) % len(WORDS)]}\n".encode())


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A router that went away, as when its caller did."""


def load(folder, rank):
    print(
        "Shard complete standard error output:" if (folder / "fail-oom").exists() else f"Loading on {rank}", flush=True
    )
    if (folder / "fail-oom").exists():
        print(
            'Traceback (most recent call last):\n  File "server.py", line 1, in serve_inner\n'
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            flush=True,
        )
        sys.exit(1)
    if (folder / "kill-shard").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    for file in folder.glob("*.safetensors"):
        check(file)


def check(file):
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    size = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    if file.stat().st_size < 8 + length + size:
        print(
            "Shard complete standard error output:\nTraceback (most recent call last):\n"
            "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
            flush=True,
        )
        sys.exit(1)


def main(args):
    folder = Path(args["model_id"])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(0.2)
    load(folder, args["rank"])
    server = Server(f"{args['shard_uds_path']}-{args['rank']}", Tokens)
    if (folder / "crash-later").exists():
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGSEGV)).start()
    server.serve_forever()


if __name__ == "__main__":
    main(json.loads(os.environ["STAND_IN"]))
