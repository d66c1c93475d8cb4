"""Runs a program of somebody else's so that it ends with whoever started it: `bound.py PARENT PROGRAM ARGUMENT…`.

A file to be run by path, before anything is imported; the binding survives the exec, in the same process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def bind(parent: int, number: int) -> bool:
    """Have the kernel send this signal when the parent dies (Linux only); False if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


if __name__ == "__main__":
    if bind(int(sys.argv[1]), signal.SIGTERM):
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 (the point of it; no shell)
