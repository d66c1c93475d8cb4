"""What the machine that engines run on has to give: cores, memory, accelerators."""

import logging

import psutil
import pynvml

from modelyard.runtimes import Gpu, Host

logger = logging.getLogger(__name__)


def this_host() -> Host:
    """This machine, as it is now."""
    memory = psutil.virtual_memory()
    return Host(psutil.cpu_count() or 1, memory.total, memory.available, gpus())


def gpus() -> tuple[Gpu, ...]:
    """NVIDIA's accelerators, as their driver tells of them; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        memory = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
        names = [pynvml.nvmlDeviceGetName(handle) for handle in handles]
        return tuple(Gpu(name, int(m.total), int(m.free)) for name, m in zip(names, memory, strict=True))
    except pynvml.NVMLError as error:
        logger.warning("the GPUs can't be read: %s", error)
        return ()
    finally:
        pynvml.nvmlShutdown()
