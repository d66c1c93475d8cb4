"""Why llama.cpp's server died: from its exit status and the lines before it."""

import re
from collections.abc import Mapping, Sequence

from modelyard.runtimes import Failure

MEMORY = "Lower slots or context, quantize the KV cache, or use a smaller model; or free memory on the host."
AGAIN = "Import the model again, from a complete file."

SIGNS: Sequence[tuple[str, str, str, str, bool]] = (
    (r"port_in_use|couldn't bind|Address already in use", "port_in_use",
     "The engine's port was taken by another process", "It is started again on another port.", False),
    (r"unknown model architecture: '([\w.-]+)'", "architecture_unsupported",
     "This llama.cpp doesn't know the model's architecture {}", "Install a newer xllamacpp for the engine.", True),
    (r"not within the file bounds|corrupted or incomplete|invalid magic|failed to read|tensor .* not found"
     r"|missing tensor|wrong number of tensors|invalid (?:split|gguf)",
     "damaged_model", "The model's file is damaged or incomplete", AGAIN, True),
    (r"failed to allocate|bad_alloc|out of memory|Cannot allocate memory|unable to allocate|insufficient memory",
     "out_of_memory", "There is not enough memory for the model and its KV cache", MEMORY, True),
    (r"No module named '?xllamacpp", "engine_missing", "The engine's interpreter lacks the package xllamacpp",
     'Run pip install "modelyard-llamacpp[engine]" for it.', True),
    (r"(?:failed|error|invalid).{0,40}chat template|jinja", "bad_chat_template",
     "The chat template can't be used", "Correct the option Chat template, or leave it empty.", True),
    (r"V cache quantization requires flash_attn", "flash_attention_needed",
     "The model can't use flash attention, which a quantized KV cache needs", "Set the KV cache type to f16.", True),
    (r"No space left on device", "disk_full", "The disk is full", "Free space on the engine's disk.", False),
    (r"failed to load model|error loading model", "model_refused",
     "llama.cpp can't load the model", "Its log says why; try a file made by a current converter.", True),
)  # fmt: skip

SIGNALS: Mapping[int, tuple[str, str, str, bool]] = {
    4: ("illegal_instruction", "This processor lacks an instruction that xllamacpp was built for",
        "Run the engine on a newer processor, or install a build for this one.", True),
    6: ("aborted", "llama.cpp gave up on something that it didn't expect", "The last lines of its log say on what.",
        False),
    9: ("killed", "The engine was killed, most likely because memory ran out", MEMORY, False),
    11: ("crashed", "llama.cpp crashed (segmentation fault)", "Install another version of xllamacpp.", False),
    15: ("terminated", "The engine was told to stop by something else on the host", "Deploy it again.", False),
}  # fmt: skip


def classify(exit_code: int, log_tail: Sequence[str]) -> Failure:
    """Signs in the log say it best, then the signal."""
    text = "\n".join(log_tail)
    number = -exit_code if exit_code < 0 else exit_code - 128 if 128 < exit_code < 160 else 0
    if not number or number == 6:
        for pattern, code, cause, step, permanent in SIGNS:
            if found := re.search(pattern, text, re.IGNORECASE):
                return Failure(code, f"{cause.format(*found.groups())}.", step, permanent=permanent)
    if number:
        code, cause, step, permanent = SIGNALS.get(
            number, ("killed_by_signal", f"The engine was ended by signal {number}", "Deploy it again.", False)
        )
        return Failure(code, f"{cause}.", step, permanent=permanent)
    last = next((line.strip() for line in reversed(log_tail) if line.strip()), "nothing")
    message = f"The engine ended with status {exit_code}. Its last line: {last[:300]}"
    return Failure("engine_died", message, "Read the end of its log, then deploy again.")
