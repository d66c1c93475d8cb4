"""Why an ONNX engine died: from its exit code and the last lines of its log to a cause and a next step."""

import re
import signal
from collections.abc import Mapping, Sequence

from modelyard.runtimes import Failure
from runtimes.onnx.engine.exits import ERROR_PREFIX, Exit

EXPORT = "Export the model to ONNX again and import that file."
MEMORY = "Free memory on the host, lower workers or the largest batch, or use a smaller or quantised model."

CAUSES: Mapping[Exit, tuple[str, str, bool]] = {
    Exit.BAD_OPTIONS: ("The engine refused its options", "Correct the deployment's options.", True),
    Exit.GRAPH_MISSING: ("The model's .onnx file is gone", "Import the model again.", True),
    Exit.GRAPH_INVALID: ("The model's .onnx file can't be read as a graph", EXPORT, True),
    Exit.GRAPH_UNSUPPORTED: (
        "The graph uses what this ONNX Runtime doesn't know",
        "Export it with an older opset and standard operators, or install a newer onnxruntime for the engine.",
        True,
    ),
    Exit.EXTERNAL_DATA_MISSING: (
        "The graph keeps weights in another file, which is missing, cut off or outside the model's folder",
        "Import the model again with its external data file beside the .onnx file, under its original name.",
        True,
    ),
    Exit.MISSING_PACKAGE: (
        "The engine's interpreter lacks a package",
        'Install "modelyard[onnx]" into it, or set MODELYARD_ONNX_PYTHON to a Python that has it.',
        True,
    ),
    Exit.TOKENIZER_INVALID: (
        "The model's tokenizer.json can't be read",
        "Import the model again with the tokenizer.json that its author published.",
        True,
    ),
    Exit.POOLING_UNSUPPORTED: (
        "The model's embedding steps can't be followed",
        "Set the pooling option, or export the model with a sentence_embedding output.",
        True,
    ),
    Exit.PORT_IN_USE: ("The engine's port was taken by another process", "Try again: it gets another port.", False),
    Exit.OUT_OF_MEMORY: ("There was not enough memory to load the model", MEMORY, False),
    Exit.INFERENCE_FAILED: ("The model loads, but its first inference failed", EXPORT, True),
    Exit.DISK_FULL: ("The disk is full", "Free space on the engine's disk, then try again.", False),
    Exit.NOT_CONVERTIBLE: (
        "The recipe can't be applied to this graph",
        "Choose another optimization, or none; the model is as it was.",
        True,
    ),
    Exit.INTERNAL: ("The engine failed in an unexpected way", "Read the end of its log.", False),
}

SIGNALS: Mapping[int, tuple[str, str, str, bool]] = {
    signal.SIGKILL: ("killed", "The engine was killed, most likely because memory ran out", MEMORY, False),
    signal.SIGILL: (
        "illegal_instruction",
        "This processor lacks an instruction that onnxruntime was built for",
        "Run the engine on a newer processor, or set MODELYARD_ONNX_PYTHON to a Python with a build for this one.",
        True,
    ),
    signal.SIGSEGV: (
        "crashed",
        "onnxruntime crashed (segmentation fault)",
        "Try again; if it repeats, install another version of onnxruntime for the engine.",
        False,
    ),
    signal.SIGTERM: ("terminated", "The engine was told to stop by something else on the host", "Try again.", False),
}

LOG_SIGNS: Sequence[tuple[str, Exit]] = (
    (r"No space left on device", Exit.DISK_FULL),
    (r"MemoryError|bad_alloc|Cannot allocate memory", Exit.OUT_OF_MEMORY),
    (r"address already in use", Exit.PORT_IN_USE),
    (r"ModuleNotFoundError|ImportError|No module named", Exit.MISSING_PACKAGE),
)

LINE = re.compile(re.escape(ERROR_PREFIX) + r"(?P<code>\w+): (?P<message>.*)")


def classify(exit_code: int, log_tail: Sequence[str]) -> Failure:
    """The engine's own error line says it best, then its exit status, then the signal, then signs in the log."""
    said = _said(log_tail)
    if said is not None:
        return said
    if exit_code in Exit:
        return _failure(Exit(exit_code), "")
    number = _signal(exit_code)
    if number in SIGNALS and number != signal.SIGKILL:
        return _by_signal(number)
    sign = next((exit for pattern, exit in LOG_SIGNS if re.search(pattern, "\n".join(log_tail), re.IGNORECASE)), None)
    if sign is not None:
        return _failure(sign, "")
    return _by_signal(number) if number else _unknown(exit_code, log_tail)


def _said(log_tail: Sequence[str]) -> Failure | None:
    for line in reversed(log_tail):
        match = LINE.search(line)
        exits = {status.code: status for status in Exit}
        if match and match["code"] in exits:
            return _failure(exits[match["code"]], match["message"])
    return None


def _failure(status: Exit, detail: str) -> Failure:
    cause, step, permanent = CAUSES[status]
    message = f"{cause}: {detail.rstrip('.')}." if detail else f"{cause}."
    return Failure(status.code, message, step, permanent=permanent)


def _signal(exit_code: int) -> int:
    if exit_code < 0:
        return -exit_code
    # a shell or a container reports a signal as 128 more
    return exit_code - 128 if 128 < exit_code < 160 else 0


def _by_signal(number: int) -> Failure:
    code, cause, step, permanent = SIGNALS.get(
        number,
        ("killed_by_signal", f"The engine was ended by signal {number}", "Try again; its log may say why.", False),
    )
    return Failure(code, f"{cause}.", step, permanent=permanent)


def _unknown(exit_code: int, log_tail: Sequence[str]) -> Failure:
    last = next((line.strip() for line in reversed(log_tail) if line.strip()), "")
    said = f" Its last line: {last[:300]}" if last else " Its log is empty."
    if exit_code == 0:
        return Failure("exited", f"The engine ended by itself with status 0.{said}", "Try again.", permanent=False)
    return Failure("unknown", f"The engine ended with status {exit_code}.{said}", "Read the end of its log.")
