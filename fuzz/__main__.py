"""`make fuzz`: hypothesis over every target, then atheris where it installs. `--seconds` for each of them."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

NAMES = ("archive", "safetensors", "gguf", "onnx", "pickle", "json", "template", "model")
ATHERIS = "3.1.0"


def cache() -> Path:
    """Where what is kept between runs lies: outside the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard"


def atheris() -> Path | None:
    """The folder with atheris for this Python, installed once; None where there is no wheel for it."""
    folder = cache() / f"atheris-{ATHERIS}-{sys.implementation.cache_tag}"
    if not (folder / "atheris").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wheel = ["--only-binary", ":all:", "--target", str(folder), f"atheris=={ATHERIS}"]
        done = subprocess.run([*pip, *wheel], capture_output=True, text=True, check=False)
        if done.returncode:
            return None
    return folder


def lane(command: list[str], environment: dict[str, str] | None = None) -> bool:
    """One child; what it says is shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *command], capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    said = done.stdout if done.returncode == 0 else done.stdout + done.stderr[-6000:]
    print("\n".join(line for line in said.splitlines() if line.strip()), flush=True)
    if done.returncode == 0:
        runs = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line or "peak_rss" in line]
        print("\n".join(f"  {' '.join(line.split()[-2:])}" for line in runs), flush=True)
    return done.returncode == 0


def main() -> int:
    """0 if nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("targets", nargs="*", default=list(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target, in each lane")
    given = parser.parse_args()
    well = [lane(["fuzz.hypothesis_lane", name, str(given.seconds)]) for name in given.targets]
    folder = atheris()
    if folder is None:
        print(f"SKIPPED: there is no atheris {ATHERIS} for Python {sys.version.split()[0]}; hypothesis alone has run.")
        return 0 if all(well) else 1
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder)]))
    for name in given.targets:
        print(f"{name}: atheris", flush=True)
        corpus = cache() / "fuzz" / name
        well.append(lane(["fuzz.atheris_lane", name, str(corpus), str(given.seconds)], {"PYTHONPATH": path}))
    return 0 if all(well) else 1


if __name__ == "__main__":
    raise SystemExit(main())
