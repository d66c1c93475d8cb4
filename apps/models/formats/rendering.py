"""Renders one chat template, in a process of its own that is started by its path, has no Django and may do little.

On its input a line of JSON with the template; on its output one with how it ended: `outcome` is rendered, failed (the
template's own error), refused (it reaches for what the sandbox keeps from it) or exhausted (time or memory).
"""

import contextlib
import json
import resource
import sys
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 4
MEMORY = 512 * 2**20  # bytes of address space
MAX_OUTPUT = 4 * 2**20  # characters of one rendering
MAX_NESTED_LOOPS = 6
TURNS = 16  # of the longer conversation
USER, ASSISTANT = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi. What can I do?"}
SYSTEM = {"role": "system", "content": "Be brief."}
SAMPLES = (
    [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "Say it again."}],
    [USER, ASSISTANT] * TURNS + [USER],
    [USER],
)
"""Templates that take no system message, or one turn only, take the last."""


class Generation(Extension):
    """The tag that marks what the assistant said; what it holds is rendered as it stands."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Its body."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's own, which remembers what it refused: a template that only asks never sees an error."""

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self.refused: set[str] = set()
        self.filters["tojson"] = _to_json
        self.globals |= {"raise_exception": _raise, "strftime_now": _now}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As Jinja2 says."""
        safe = super().is_safe_attribute(obj, attr, value)
        if not safe:
            self.refused.add(str(attr)[:60])
        return safe


class Asked(TemplateError):
    """The template called raise_exception."""


def _raise(message: str) -> NoReturn:
    raise Asked(str(message)[:200])


def _now(form: str) -> str:
    return datetime(2026, 1, 1).strftime(form)


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def limit() -> None:
    """From here on: a few seconds, some memory, and no file to write."""
    for what, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def look(tree: nodes.Template) -> str:
    """What stands in the template that none needs; empty if nothing does."""
    for kind in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
        if tree.find(kind):
            return "it loads another template"
    names = {node.attr for node in tree.find_all(nodes.Getattr)}
    names |= {
        node.arg.value
        for node in tree.find_all(nodes.Getitem)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
    }
    if hidden := sorted(name for name in names if name.startswith("__")):
        return f"it asks for {', '.join(name[:60] for name in hidden[:5])}"
    if _loops(tree) > MAX_NESTED_LOOPS:
        return f"it has more than {MAX_NESTED_LOOPS} loops in one another"
    return ""


def _loops(node: nodes.Node) -> int:
    deepest, waiting = 0, [(node, 0)]
    while waiting:
        each, depth = waiting.pop()
        depth += isinstance(each, nodes.For)
        deepest = max(deepest, depth)
        waiting.extend((child, depth) for child in each.iter_child_nodes())
    return deepest


def render(text: str) -> tuple[str, str]:
    """How it ended, and a few words on why."""
    sandbox = Sandbox()
    try:
        if hidden := look(sandbox.parse(text)):
            return "refused", hidden
        error = _samples(sandbox.from_string(text))
    except SecurityError as found:
        return "refused", str(found)[:200]
    except Exhausted:
        return "exhausted", f"it makes more than {MAX_OUTPUT} characters of a few short messages"
    except MemoryError:
        return "exhausted", f"it takes more than {MEMORY // 2**20} MiB"
    except (TemplateError, SyntaxError, RecursionError, ValueError) as found:
        return "failed", f"{type(found).__name__}: {str(found)[:200]}"
    if sandbox.refused:
        return "refused", f"it asks for {', '.join(sorted(sandbox.refused)[:5])}"
    return ("failed", error) if error else ("rendered", "")


def _samples(template: jinja2.Template) -> str:
    """Each conversation; the error of the last one, which every template has to take."""
    error = ""
    for sample in SAMPLES:
        try:
            _one(template, sample)
            error = ""
        except (SecurityError, MemoryError, Exhausted):
            raise
        except Exception as found:  # noqa: BLE001 (whatever a template of others' makes of a sample)
            error = f"{type(found).__name__}: {str(found)[:200]}"
    return error


class Exhausted(Exception):
    """More came out than any conversation has."""


def _one(template: jinja2.Template, messages: list[dict[str, str]]) -> None:
    size = 0
    values = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>",
              "pad_token": "<pad>", "unk_token": "<unk>"}  # fmt: skip
    for piece in template.generate(messages=messages, **values):
        size += len(piece)
        if size > MAX_OUTPUT:
            raise Exhausted


def main() -> None:
    """Read, bound oneself, render, say."""
    text = json.loads(sys.stdin.read())["template"]
    limit()
    try:
        outcome, said = render(text)
    except MemoryError:
        outcome, said = "exhausted", f"it takes more than {MEMORY // 2**20} MiB"
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"outcome": outcome, "said": said}))  # noqa: T201 (the answer)


if __name__ == "__main__":
    main()
