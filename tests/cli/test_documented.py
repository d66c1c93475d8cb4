"""What the reference says of settings, checks and commands is what the code has."""

import re
from pathlib import Path

from modelyard.cli import OWN

ROOT = Path(__file__).resolve().parents[2]
INTERNAL = {
    "MODELYARD_API_KEY",  # a placeholder in snippets
    "MODELYARD_DEMO_LOGIN",
    "MODELYARD_ENGINE_SECRET",
    "MODELYARD_READY_FD",
    "MODELYARD_SUPERVISOR",
    "MODELYARD_TOKEN",  # a placeholder in snippets
}


def sources() -> str:
    return "\n".join(
        path.read_text() for place in ("platform", "apps", "runtimes") for path in (ROOT / place).rglob("*.py")
    )


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text()


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    code = sources()
    read = {
        f"MODELYARD_{name}" for name in re.findall(r'environment\.(?:text|flag|number|names)\(\s*"([A-Z_]+)"', code)
    }
    named = set(re.findall(r"\bMODELYARD_[A-Z_]*[A-Z]\b", code))
    documented = set(re.findall(r"^\| `(MODELYARD_[A-Z_]+)`", page("settings.md"), re.MULTILINE))
    assert documented - (read | named) == set()
    assert (read | named) - INTERNAL - documented == set()


def test_every_system_check_is_documented_and_every_documented_one_exists() -> None:
    pattern = r"modelyard\.[EW]\d{3}"
    assert set(re.findall(pattern, page("command-line.md"))) == set(re.findall(pattern, sources()))


def test_every_command_is_documented() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", page("command-line.md"), re.MULTILINE))
    assert [name for name in OWN if name not in headings] == []
