#!/usr/bin/env python
"""Django's command line for a checkout; an installed Modelyard has the same commands as `modelyard <command>`."""

import os
import sys
from pathlib import Path

# `platform/` is an import root like `src/`: the package `modelyard` lives in it.
sys.path.insert(1, str(Path(__file__).resolve().parent / "platform"))

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")
    execute_from_command_line(sys.argv)
