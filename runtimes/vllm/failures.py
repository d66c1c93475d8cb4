"""Why vLLM died: the real cause stands above the last lines, which only say that the engine core failed."""

import re
from collections.abc import Mapping, Sequence

from modelyard.runtimes import Failure

MEMORY = "Lower the context, the sequences at a time or the share of GPU memory, quantize, or use a smaller model."
LOG = "Read the end of its log, then deploy again."

SIGNS: Sequence[tuple[str, str, str, str, bool]] = (
    (r"Errno 98|address already in use", "port_in_use", "The engine's port was taken by another process",
     "It is started again on another port.", False),
    (r"unrecognized arguments?: ([^\n]{1,120})|error: argument ([^\n]{1,160})", "bad_argument",
     "vLLM doesn't take an argument: {}", "Correct More arguments; vllm serve --help has what there is.", True),
    (r"GatedRepoError|gated repo|401 Client Error|Access to model .{1,80} is restricted", "gated_weights",
     "The weights are gated, and the engine isn't allowed to fetch them",
     "Accept the model's terms, and import it with a token that may read it.", True),
    (r"max_model_len \((\d+)\) is greater than the derived max_model_len", "context_too_long",
     "The context of {} tokens is longer than the model's", "Lower Context (tokens), or set it to 0.", True),
    (r"is larger than the (?:maximum number of tokens|available KV cache memory)|KV cache is needed, which is larger"
     r"|No available memory for the cache blocks",
     "kv_cache_too_small", "The memory for the KV cache isn't enough for one request of the longest context",
     "Lower Context (tokens), or raise KV cache (bytes) or the share of GPU memory.", True),
    (r"Model architectures? \[?'?([\w', ]+)'?\]? (?:are|is) not supported|no model architectures? .{0,40}supported",
     "architecture_unsupported", "This vLLM doesn't support the architecture {}",
     "Install a newer vLLM, or use another runtime.", True),
    (r"model type `?'?([\w.-]+)'?`? but Transformers does not recognize", "architecture_unsupported",
     "The engine's Transformers doesn't know the model type {}", "Install a newer vLLM, or use another runtime.", True),
    (r"trust_remote_code=True|requires you to execute the configuration file", "remote_code",
     "The model needs Python code of its own", "Read that code; then turn on Run code of the model.", True),
    (r"HFValidationError|LocalEntryNotFoundError|does not appear to have a file named|Invalid repository ID",
     "model_incomplete", "A file of the model is missing", "Import the whole repository of the model.", True),
    (r"SafetensorError|MetadataIncompleteBuffer|HeaderTooSmall|InvalidHeader|incomplete metadata", "damaged_model",
     "A safetensors file of the model is damaged", "Import the model again.", True),
    (r"Free memory on device .{0,80}is less than desired"
     r"|(?:CUDA|HIP) out of memory|OutOfMemoryError", "gpu_out_of_memory",
     "There is not enough memory on the GPU", MEMORY, True),
    (r"Not enough memory|available memory .{0,60}(?:less|smaller) than|DefaultCPUAllocator|bad_alloc|MemoryError"
     r"|Cannot allocate memory|can't allocate memory", "out_of_memory",
     "There is not enough memory on the host", MEMORY, True),
    (r"Unsupported CPU attention configuration: (head_dim=\d+)", "attention_unsupported",
     "vLLM's CPU build can't do attention with this model's {}", "Use a host with a GPU, or another runtime.", True),
    (r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|NVIDIA driver .{0,40}too old",
     "no_gpu", "vLLM finds no GPU that it can use", "Use a host with a GPU, or vLLM's CPU build.", True),
    (r"illegal instruction|SIGILL", "processor", "This processor lacks an instruction that vLLM was built for",
     "Use a newer host, or install a build of vLLM for this one.", True),
    (r"(?:tool|reasoning)[\w -]{0,12}parser:? '?([\w.-]+)'? (?:not found|\(chose)"
     r"|invalid tool call parser: (\S+)",
     "bad_parser", "vLLM doesn't know the parser {}",
     "Correct the tool-call or reasoning parser.", True),
    (r"LoRA rank (\d+) is greater than max_lora_rank", "lora_rank", "An adapter's rank of {} is above what is set",
     "Add --max-lora-rank to More arguments.", True),
    (r"No adapter found|adapter_config\.json|Loading lora .{1,120} failed", "bad_adapter",
     "A LoRA adapter can't be loaded", "Check that it was made for this model.", True),
    (r"Unknown quantization method|Cannot find the config file for (\w+)"
     r"|quantization .{0,80}(?:not supported|does not match|unsupported)"
     r"|not supported .{0,40}quantization", "quantization_unsupported",
     "The quantization {} can't be used with this model here", "Choose another quantization, or none.", True),
    (r"No module named '([\w.]+)'|ModuleNotFoundError|PackageNotFoundError", "package_missing",
     "vLLM's interpreter lacks a package {}", "Install vLLM into it again.", True),
    (r"No space left on device", "disk_full", "The disk is full", "Free space on the engine's disk.", False),
    (r"EngineDeadError|Engine core proc .{0,30}died|EngineCore (?:encountered|died)|Worker proc .{0,30}died"
     r"|Shutting down .{0,20}due to engine", "engine_core_died", "vLLM's engine core died", LOG, False),
)  # fmt: skip

CAUSE = re.compile(r"(?:^|\s)((?:[\w.]+\.)?(?:\w*Error|\w*Exception|Value error))(?:: |, )(.{1,300})")
GENERIC = ("Engine core initialization failed", "See root cause above", "validation error for", "Errno 24")
SIGNALS: Mapping[int, tuple[str, str, str, bool]] = {
    4: ("processor", "This processor lacks an instruction that vLLM was built for",
        "Use a newer host, or install a build of vLLM for this one.", True),
    6: ("aborted", "vLLM gave up on something that it didn't expect", LOG, False),
    9: ("killed", "The engine was killed, most likely because memory ran out", MEMORY, False),
    11: ("crashed", "vLLM crashed (segmentation fault)", "Try again; then install another version of vLLM.", False),
    15: ("terminated", "The engine was told to stop by something else on the host", "Deploy it again.", False),
}  # fmt: skip


def classify(exit_code: int, log_tail: Sequence[str]) -> Failure:
    """Signs in the log say it best, then the signal, then the innermost exception."""
    text = "\n".join(log_tail)
    for pattern, code, cause, step, permanent in SIGNS:
        if found := re.search(pattern, text, re.IGNORECASE):
            said = next((group for group in found.groups() if group), "")
            return Failure(code, f"{cause.replace(' {}', f' {_clean(said)}' if said else '')}.", step,
                           permanent=permanent)  # fmt: skip
    number = -exit_code if exit_code < 0 else exit_code - 128 if 128 < exit_code < 160 else 0
    if number:
        code, cause, step, permanent = SIGNALS.get(
            number, ("killed_by_signal", f"Signal {number} ended it", LOG, False)
        )
        return Failure(code, f"{cause}.", step, permanent=permanent)
    return _unknown(exit_code, log_tail)


def _unknown(exit_code: int, log_tail: Sequence[str]) -> Failure:
    causes = [found for line in log_tail if (found := CAUSE.search(line.rstrip()))]
    real = [found for found in causes if not any(word in found[2] for word in GENERIC)]
    if real:
        return Failure("start_failed", _clean(f"vLLM failed: {real[0][1]}: {real[0][2]}"), LOG)
    if exit_code == 0:
        return Failure("engine_core_died", "vLLM ended by itself: its engine core or a worker died.", LOG)
    last = next((line.strip() for line in reversed(log_tail) if line.strip()), "nothing")
    return Failure("engine_died", _clean(f"vLLM ended with status {exit_code}. Its last line: {last[:300]}"), LOG)


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
