"""`python -m tests.lock`: both locks are in step with pyproject.toml, hashed, and name no registry."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def locked(path: Path) -> dict[str, str]:
    """Name and version of every pinned package."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def troubles() -> Iterator[str]:
    """One line for each thing that isn't in step."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["onnx"]]
    runtime += project["dependency-groups"]["build"] + project["dependency-groups"]["demo"]
    development = [*runtime, *project["dependency-groups"]["dev"]]
    for name, wanted in (("requirements.lock", runtime), ("requirements-dev.lock", development)):
        path = ROOT / name
        pins = locked(path)
        for requirement in map(Requirement, wanted):
            version = pins.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                yield f"{name} has {requirement.name} {version}, wanted is {requirement}"
        text = path.read_text()
        if "://" in text:
            yield f"{name} names an address"
        if len(re.findall(r"^\S+==", text, re.MULTILINE)) > text.count("--hash=") or "--hash=" not in text:
            yield f"{name} has a pin without a hash"


if __name__ == "__main__":
    found = list(troubles())
    for line in found:
        sys.stderr.write(f"{line}: run make lock\n")
    sys.exit(bool(found))
