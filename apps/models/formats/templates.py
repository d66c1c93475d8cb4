"""The chat templates of a model: found, measured, and each rendered once in a child process with limits."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.models.formats import rendering
from apps.models.rules import Policy

MAX_LENGTH = 256 * 1024  # characters; the longest in use have a tenth of that
MAX_TEMPLATES = 20
SECONDS = 30  # on the wall, with a busy machine in mind; the child has a few of CPU time
REFUSED = "Ask where the model is from; use the template of the model it was made from."
FAILED = "Chat requests may fail. Try the deployment, or give the engine a template of your own."


@dataclass(frozen=True)
class Template:
    """One template and where it stands."""

    where: str
    text: str


def of_document(path: str, value: Any) -> Iterator[Template]:
    """Those in a JSON file: `chat_template` is a text, or a list or object of named ones."""
    found = value.get("chat_template") if isinstance(value, dict) else None
    named: Any = (
        [{"name": name, "template": text} for name, text in found.items()] if isinstance(found, dict) else found
    )
    for each in [{"template": named}] if isinstance(named, str) else named if isinstance(named, list) else []:
        if isinstance(each, dict) and isinstance(each.get("template"), str):
            name = str(each.get("name") or "")[:60]
            yield Template(f"chat_template{f' {name!r}' if name else ''} of {path}", each["template"])


def of_files(folder: Path, paths: list[str]) -> Iterator[Template]:
    """The files that are one."""
    for path in paths:
        if path.lower().endswith((".jinja", ".jinja2", ".j2")):
            with (folder / path).open(encoding="utf-8", errors="replace") as file:
                yield Template(path, file.read(MAX_LENGTH + 1))


def keep(kept: list[Template], more: Iterable[Template]) -> None:
    """Add them, as far as it takes to see that there are too many, or that one is too long."""
    for template in more:
        if len(kept) > MAX_TEMPLATES:
            return
        kept.append(Template(template.where, template.text[: MAX_LENGTH + 1]))


def check(found: list[Template], policy: Policy) -> list[str]:
    """Render each; blocks what goes beyond the sandbox or its limits, and answers what is wrong with the others."""
    if len(found) > MAX_TEMPLATES:
        policy.block(
            "MYI027", f"The model has more than {MAX_TEMPLATES} chat templates.", f"Keep {MAX_TEMPLATES} of them."
        )
    problems = []
    for template in policy.each(found[:MAX_TEMPLATES]):
        if len(template.text) > MAX_LENGTH:
            said = f"{template.where} has more than {MAX_LENGTH // 1024} Ki characters."
            policy.block("MYI027", said, "Use the template of the model it was made from.")
            continue
        outcome, said = render(template.text)
        if outcome in {"refused", "exhausted"}:
            policy.block("MYI027", f"{template.where} isn't a plain chat template: {said}.", REFUSED)
        elif outcome == "failed":
            problems.append(f"{template.where} doesn't render a conversation ({said})")
    return problems


def render(text: str) -> tuple[str, str]:
    """How rendering it ended, in a process that has nothing of ours and ends itself."""
    command = [sys.executable, "-I", rendering.__file__]
    try:
        done = subprocess.run(
            command, input=json.dumps({"template": text}), capture_output=True, text=True, encoding="utf-8",
            timeout=SECONDS, env={}, cwd="/", check=False,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        return str(answer["outcome"]), str(answer["said"])
    except subprocess.TimeoutExpired:
        return "exhausted", f"it takes more than {SECONDS} s"
    except (ValueError, KeyError, TypeError):
        if done.returncode < 0:
            return "exhausted", f"it takes more than {rendering.CPU_SECONDS} s for a few short messages"
        return "exhausted", "rendering it ended without an answer"
