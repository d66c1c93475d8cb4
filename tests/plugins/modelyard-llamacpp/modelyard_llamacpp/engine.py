"""The engine's process: llama.cpp's server, on one model. Run by path, in an interpreter that has xllamacpp.

`engine.py MODEL HOST PORT NAME` with the options as JSON in the environment, and the secret beside them.
"""

import json
import os
import signal
import socket
import sys
import time
from typing import Any

BAD_MODEL, PORT_IN_USE, MISSING = 3, 4, 5
FLUSH = 1.0  # seconds that llama.cpp's thread has to write its log, where the cause stands
FLASH = {"auto": -1, "off": 0, "on": 1}


def end(status: int, message: str) -> None:
    """One line that says why, and the exit status."""
    sys.stderr.write(f"engine: {message}\n")
    sys.stderr.flush()
    os._exit(status)


def half_of_the_cores() -> int:
    """Its threads wait for one another actively: two engines that both take every core stand in each other's way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // 2, 1)


def parameters(xllamacpp: Any, model: str, host: str, port: int, name: str) -> Any:
    """llama.cpp's own, from the plugin's options."""
    options: dict[str, Any] = json.loads(os.environ["MODELYARD_LLAMACPP_OPTIONS"])
    made = xllamacpp.CommonParams()
    made.model.path, made.model_alias = model, {name}
    made.hostnames, made.port = [host], port
    made.api_keys = [os.environ.pop("MODELYARD_LLAMACPP_SECRET")]
    made.n_ctx, made.n_parallel = options["context_tokens"] * options["slots"], options["slots"]
    made.n_batch = made.n_ubatch = options["batch_tokens"]
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = options["threads"] or half_of_the_cores()
    made.cpuparams.poll = made.cpuparams_batch.poll = 0
    made.n_gpu_layers = options["gpu_layers"]
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options['kv_cache_type'].upper()}")
    made.cache_type_k = made.cache_type_v = kind
    made.flash_attn_type = xllamacpp.llama_flash_attn_type(FLASH[options["flash_attention"]])
    made.cache_ram_mib = options["prompt_cache_mib"]
    made.chat_template = options["chat_template"]
    generation(made, options)
    made.ui = made.endpoint_slots = made.endpoint_props = False
    made.offline = True
    return made


def generation(made: Any, options: dict[str, Any]) -> None:
    """What holds where a request doesn't say."""
    for name, mine in (("temp", "temperature"), ("top_p", "top_p"), ("top_k", "top_k")):
        if options[mine] is not None:
            setattr(made.sampling, name, options[mine])
    if options["max_tokens"]:
        made.n_predict = options["max_tokens"]
    made.antiprompt = list(options["stop"])


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    model, host, port, name, task = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    try:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        end(PORT_IN_USE, f"port_in_use: {error}")
    try:
        import xllamacpp
    except ImportError as error:
        end(MISSING, str(error))
    made = parameters(xllamacpp, model, host, port, name)
    if task != "generate":
        made.embedding = True
    if task == "rank":
        made.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    try:
        server = xllamacpp.Server(made)
    except RuntimeError as error:
        time.sleep(FLUSH)
        end(BAD_MODEL, f"the server did not start: {error}")
    sys.stderr.write(f"engine: serving on {server.listening_address}\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
