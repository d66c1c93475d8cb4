"""What is fuzzed: one function a reader. Each takes the bytes of a file, and lets through what isn't declared."""

import contextlib
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.models import archive, credentials
from apps.models.formats import contents, documents, gguf, inspect, onnx, pickles, rendering, safetensors, templates
from apps.models.formats.safetensors import Malformed
from apps.models.rules import RULES, Blocked, Policy
from fuzz.guard import guarded

LIMIT = 8 * 2**20  # bytes that an archive may unpack to
RENDER_SECONDS = 3.0
FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json", "modules.json",
    "README.md", ".env", "pytorch_model.bin", "deploy.yaml", "LICENSE", "processor_config.json", "vocab.txt",
)  # fmt: skip
ONNX = Path(__file__).with_name("tiny.onnx")


def unpacked(box: Path, data: bytes) -> None:
    """An archive, as an import takes it in."""
    (box / "model.zip").write_bytes(data)
    inside = box / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    with contextlib.suppress(Blocked), archive.opened(box / "model.zip") as zipped:
        entries = archive.look(zipped, LIMIT)
        done = list(archive.unpack(zipped, entries, inside, LIMIT, lambda *_: None))
        made = {str(path.relative_to(inside)) for path in inside.rglob("*") if not path.is_dir()}
        assert made == {file.path for file in done}
        assert not any(path.is_symlink() for path in inside.rglob("*"))


def header(reader: Callable[[Path], Any]) -> Callable[[Path, bytes], None]:
    """A reader of one file, which answers or says Malformed."""

    def target(box: Path, data: bytes) -> None:
        (box / "file").write_bytes(data)
        with contextlib.suppress(Malformed):
            reader(box / "file")

    return target


def pickled(box: Path, data: bytes) -> None:
    """A file that may be a pickle: as weights, and under another name. What is allowed imports nothing else."""
    (box / "file").write_bytes(data)
    found = pickles.read(box / "file")
    assert not found.allowed or found.names <= pickles.ALLOWED
    assert found.said()
    pickles.disguised(box / "file")
    with contextlib.suppress(Blocked):
        contents.check(box, ["file"], set(), Policy())


def document(box: Path, data: bytes) -> None:
    """JSON, and the credentials in it."""
    (box / "file.json").write_bytes(data)
    with contextlib.suppress(Blocked):
        for _, value in documents.every(box, ["file.json"], Policy()):
            list(documents.walk(value))
            list(templates.of_document("file.json", value))
    list(credentials.found(box, "file.json"))
    credentials.redacted(data.decode(errors="replace"))


def template(box: Path, data: bytes) -> None:
    """A chat template, in the sandbox alone: the process with its limits is too slow to start for each."""

    def out_of_time(*_: Any) -> None:
        raise rendering.Exhausted

    previous = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, RENDER_SECONDS)
    try:
        outcome, _ = rendering.render(data.decode(errors="replace"))
        assert outcome in {"rendered", "failed", "refused", "exhausted"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def model(box: Path, data: bytes) -> None:
    """A model with one file of anything; the first byte says which."""
    folder = box / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    name = FILES[data[0] % len(FILES)] if data else FILES[0]
    (folder / name).write_bytes(data[1:])
    (folder / "model.onnx").write_bytes(ONNX_BYTES)
    with contextlib.suppress(Blocked):
        facts = inspect(folder, sorted([name, "model.onnx"]))
        assert {found.rule for found in facts.findings} <= set(RULES)
        assert all(found.finding.isprintable() or "\n" in found.finding for found in facts.findings)


ONNX_BYTES = ONNX.read_bytes()
TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "archive": unpacked,
    "safetensors": header(safetensors.parameters),
    "gguf": header(gguf.read),
    "onnx": header(lambda path: onnx.check_external(onnx.read(path), path.parent, path.name)),
    "pickle": pickled,
    "json": document,
    "template": template,
    "model": model,
}


def run(name: str, box: Path, data: bytes) -> None:
    """One input for one target. Rendering in a child is replaced: starting it is what the guard forbids."""
    templates.render = lambda _: ("rendered", "")
    with guarded(box):
        TARGETS[name](box, data)
