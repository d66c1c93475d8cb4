"""Loaded before Django reads its settings (`-p tests.environment`): a data directory for each test process."""

import os
import tempfile
from pathlib import Path

# Short, because the path of a Unix socket may have 108 bytes.
DATA = Path(tempfile.mkdtemp(prefix="my-"))
os.environ["MODELYARD_DATA_DIR"] = str(DATA)
os.environ.setdefault("MODELYARD_SECRET_KEY", "for the tests only, long enough to be taken for a real one")
os.environ.pop("MODELYARD_REDIS_URL", None)
