"""Why TGI died: its last line names the stage, and the lines above say the cause."""

import re
from collections.abc import Mapping, Sequence

from modelyard.runtimes import Failure

MEMORY = "Lower Context, Batch or Prefill batch, quantize, add shards, or use a smaller model."
LOG = "Read the end of its log, then deploy again."

SIGNS: Sequence[tuple[str, str, str, str, bool]] = (
    (r"Failed to bind to ([^\s:]+(?::\d+)?)|[Aa]ddress already in use|port is already allocated|os error 98",
     "port_in_use", "A port of the engine, {}, was taken by another process",
     "It is started again on other ports.", False),
    (r"CUDA out of memory|HIP out of memory|OutOfMemoryError|Not enough memory to handle", "gpu_out_of_memory",
     "There is not enough memory on the GPU", MEMORY, True),
    (r"No space left on device", "disk_full", "The disk is full", "Free space on the engine's disk.", False),
    (r"(?:error|Error): unexpected argument '?([^'\s]{1,80})", "bad_argument", "TGI doesn't take the argument {}",
     "Correct More arguments; text-generation-launcher --help has what there is.", True),
    (r"(?:error|Error): invalid value ('[^']{0,80}' for '[^']{1,80}')", "bad_argument",
     "TGI doesn't take the value {}", "Correct the deployment's options.", True),
    (r"ArgumentValidation\(\"(.{1,300}?)\"\)", "bad_options", "TGI refuses the options: {}",
     "Correct the deployment's options.", True),
    (r"NotEnoughCUDADevices\(\"(.{1,300}?)\"\)", "too_few_gpus", "There are fewer GPUs than shards: {}",
     "Lower Shards, or use a host with more GPUs.", True),
    (r"GatedRepoError|gated repo|RepositoryNotFoundError|401 Client Error", "gated_weights",
     "The weights are gated, and the engine isn't allowed to fetch them",
     "Import the whole repository of the model with a token that may read it.", True),
    (r"LocalEntryNotFoundError|OfflineModeIsEnabled|EntryNotFoundError|does not appear to have a file named"
     r"|No such file or directory: '[^']*\.(?:json|safetensors|model)'|HFValidationError", "model_incomplete",
     "A file of the model is missing", "Import the whole repository of the model.", True),
    (r"SafetensorError|MetadataIncompleteBuffer|HeaderTooSmall|InvalidHeader", "damaged_model",
     "A safetensors file of the model is damaged", "Import the model again.", True),
    (r"[Uu]nsupported model type ([\w.-]+)|model type `?'?([\w.-]+)'?`? but Transformers does not recognize",
     "architecture_unsupported", "TGI doesn't know the model type {}", "Use vLLM, which knows more of them.", True),
    (r"trust_remote_code=True|requires you to execute the configuration file", "remote_code",
     "The model needs Python code of its own", "Read that code; then turn on Run code of the model.", True),
    (r"No CUDA GPUs are available|Found no NVIDIA driver|could not select device driver", "no_gpu",
     "TGI finds no GPU that it can use", "Use a host with a GPU.", True),
    (r"(text-generation-(?:server|router)) not found in PATH", "installation_incomplete", "TGI's {} isn't on its PATH",
     "Install the whole of TGI, and put its folder on the PATH of MODELYARD_TGI_COMMAND.", True),
    (r"No such image|[Ii]mage not known|Unable to find image|manifest unknown", "image_missing",
     "The image of MODELYARD_TGI_IMAGE isn't on this host", "Pull it with the container client, then deploy again.",
     True),
    (r"Cannot connect to the Docker daemon|permission denied while trying to connect|Cannot connect to Podman",
     "no_container_daemon", "The container client can't reach its daemon",
     "Start it, let Modelyard's user use it, then deploy again.", False),
    (r"Shard process was signaled to shutdown with signal 9", "out_of_memory",
     "A shard was killed, most likely because the host's memory ran out", MEMORY, False),
)  # fmt: skip
"""Pattern, code, cause, next step, and whether another try is no use. The first one found counts."""

STAGES: Mapping[str, tuple[str, str, str, bool]] = {
    "DownloadError": ("download_failed", "TGI couldn't prepare the weights", "Import the model again.", True),
    "ShardCannotStart": ("shard_start_failed", "A shard couldn't load the model", LOG, False),
    "ShardDisconnected": ("shard_died", "A shard went away while it started", LOG, False),
    "ShardFailed": ("shard_died", "A shard died, and TGI ended with it", LOG, False),
    "WebserverCannotStart": ("router_failed", "TGI's router couldn't start", LOG, False),
    "WebserverFailed": ("router_failed", "TGI's router died, and TGI ended with it", LOG, False),
}
SIGNALS: Mapping[int, tuple[str, str, str, bool]] = {
    4: ("processor", "This processor lacks an instruction that TGI was built for", "Use a newer host.", True),
    9: ("killed", "The engine was killed, most likely because memory ran out", MEMORY, False),
    11: ("crashed", "TGI crashed (segmentation fault)", "Try again; then install another version of TGI.", False),
    15: ("terminated", "The engine was told to stop by something else on the host", "Deploy it again.", False),
}

STAGE = re.compile(r"^Error: ([A-Z]\w+)")
CAUSE = re.compile(r"(?:^|\s)((?:[\w.]+\.)?\w+(?:Error|Exception)): (.{1,300})")


def classify(exit_code: int, log_tail: Sequence[str]) -> Failure:
    """Signs in the log say it best, then the stage and the innermost exception, then the signal."""
    text = "\n".join(_latest(log_tail))
    for pattern, code, cause, step, permanent in SIGNS:
        if found := re.search(pattern, text):
            said = next((group for group in found.groups() if group), "")
            return _failure(code, cause.replace("{}", said) if said else cause.replace(", {},", ""), step, permanent)
    stage = next((found[1] for line in reversed(log_tail) if (found := STAGE.match(line))), "")
    if stage in STAGES:
        return _at(stage, log_tail)
    number = -exit_code if exit_code < 0 else exit_code - 128 if 128 < exit_code < 160 else 0
    if number:
        unknown = ("killed_by_signal", f"Signal {number} ended it", LOG, False)
        return _failure(*SIGNALS.get(number, unknown))
    return _unknown(exit_code, log_tail)


def _latest(log_tail: Sequence[str]) -> Sequence[str]:
    """The newest launch's lines: what an earlier one died of says nothing about this one."""
    starts = [index for index, line in enumerate(log_tail) if line.startswith("--- start ")]
    return log_tail[starts[-1] :] if starts else log_tail


def _at(stage: str, log_tail: Sequence[str]) -> Failure:
    code, cause, step, permanent = STAGES[stage]
    said = [f"{found[1]}: {found[2]}" for line in _latest(log_tail) if (found := CAUSE.search(line.rstrip()))]
    return _failure(code, f"{cause}: {said[-1]}" if said else cause, step, permanent)


def _unknown(exit_code: int, log_tail: Sequence[str]) -> Failure:
    if exit_code == 0:
        return _failure("engine_died", "TGI ended by itself", LOG, permanent=False)
    if exit_code == 127:
        step = "Check MODELYARD_TGI_COMMAND."
        return _failure("not_installed", "TGI's launcher can't be started", step, permanent=True)
    if exit_code == 2:
        step = "Correct the deployment's options; the end of its log says which."
        return _failure("bad_argument", "TGI doesn't take its arguments", step, permanent=True)
    last = next((line.strip() for line in reversed(log_tail) if line.strip()), "nothing")
    return _failure("engine_died", f"TGI ended with status {exit_code}. Its last line: {last[:300]}", LOG,
                    permanent=False)  # fmt: skip


def _failure(code: str, cause: str, step: str, permanent: bool) -> Failure:
    text = " ".join("".join(c if c.isprintable() else " " for c in cause).split())
    return Failure(code, f"{text[:500].rstrip('.')}.", step, permanent=permanent)
