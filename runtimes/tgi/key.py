"""The engine's key, kept out of arguments, which every user of the host can read."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from modelyard.runtimes import LaunchContext
from runtimes.tgi.options import TgiOptions

ROUTER = Path(__file__).resolve().parent / "engine" / "router.sh"
SECRET = "MODELYARD_ENGINE_SECRET"  # noqa: S105 (the name of a variable)


def environment(launch: LaunchContext[TgiOptions]) -> Mapping[str, str]:
    """The real key for the router alone, and another for the launcher, which gives it to the router as an argument.

    Without what stands before the router, that one is all it knows: then it refuses the gateway, and isn't ready.
    """
    other = hashlib.sha256(launch.secret.encode()).hexdigest()
    return {SECRET: launch.secret, "API_KEY": other}


def before_the_router(workdir: Path) -> Mapping[str, str]:
    """The PATH on which the launcher finds that first, which is written to a folder of the launch's own."""
    folder = workdir / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "text-generation-router"
    script.write_bytes(ROUTER.read_bytes())
    script.chmod(0o700)
    return {"PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"}
