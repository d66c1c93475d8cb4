"""The least memory that a model of a catalogue needs, and whether this machine has it."""

from apps.models.catalogue.schema import Count, Dtype, Entry
from modelyard.runtimes import Host

BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2, Dtype.FLOAT8: 1, Dtype.INT8: 1}
OVERHEAD = 1.2
"""Of the weights: what running them adds at least, after Hugging Face's estimator of model sizes ("up to 20 %")."""


def least(entry: Entry) -> Count | None:
    """What the entry says itself, else parameters × bytes of a weight × 1.2; None where too little is known."""
    if entry.memory or not entry.parameters or not entry.dtype:
        return entry.memory
    size = BYTES[entry.dtype.value]
    value = round(entry.parameters.value * size * OVERHEAD)
    return Count(value=value, source=f"computed: parameters × {size} bytes ({entry.dtype.value}) × {OVERHEAD}")


def room(host: Host) -> int:
    """Bytes that a model may have here: of the GPUs together, else what of the main memory is free."""
    return sum(gpu.memory_total for gpu in host.gpus) or host.memory_available


def fits(entry: Entry, host: Host) -> bool | None:
    """Whether it fits here; None where too little is known."""
    needed = least(entry)
    return None if needed is None else needed.value <= room(host)
