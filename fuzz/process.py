"""What a process needs before it reads files of strangers: Django's settings for the readers' tables, and limits."""

import os
import resource
import sys
import tempfile

MEMORY = 4 * 2**30  # bytes of address space
FILE = 64 * 2**20  # bytes of one file that is written


def ready() -> None:
    """Set Django up with a data directory of its own. Nothing is compiled to disk on the way."""
    sys.dont_write_bytecode = True
    os.environ.setdefault("MODELYARD_DATA_DIR", tempfile.mkdtemp())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")
    import django

    django.setup()


def bounded() -> None:
    """No more memory, and no larger files, than reading small ones takes."""
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
