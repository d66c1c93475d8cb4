"""No template and no script writes a text of the interface that can't be translated."""

import re
from pathlib import Path

import pytest

from tests import messages

TEMPLATES = sorted(found for package in messages.PACKAGES for found in (messages.ROOT / package).rglob("*.html"))
NAMES = frozenset({"ONNX", "GGUF", "SHA-256", "Hugging Face", "| Modelyard", "Modelyard ·", "ms", "ms—"})
"""Names and units, the same in every language."""
ICON = re.compile(r"<span[^>]*material-symbols[^>]*>.*?</span>", re.DOTALL)
NOT_TEXT = (
    re.compile(r"\{%\s*comment.*?endcomment\s*%\}|\{#.*?#\}", re.DOTALL),
    re.compile(r"\{%\s*block(?:trans|translate)\b.*?\{%\s*endblock(?:trans|translate)\s*%\}", re.DOTALL),
    ICON,
    re.compile(r"<(script|style|pre|code|textarea)\b[^>]*>.*?</\1>", re.DOTALL),
)
TAG = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
SHOWN = re.compile(r"""\b(title|aria-label|alt|data-confirm|data-label)\s*=\s*("[^"]*"|'[^']*')""")


def texts(template: str) -> list[str]:
    """What stands between elements and in the attributes that people read, but for what is translated or filled in."""
    for each in NOT_TEXT:
        template = each.sub("", template)
    plain = TAG.sub("", template)
    read = [value.strip("\"'") for _, value in SHOWN.findall(plain)]
    between = re.sub(r"<[^>]*>", "\n", plain).split("\n")
    found = (text.strip() for text in [*read, *between])
    return [text for text in found if re.search(r"[A-Za-z]{2}", text) and text not in NAMES]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(messages.ROOT)))
def test_a_template_has_no_text_that_cannot_be_translated(path: Path) -> None:
    assert texts(path.read_text()) == []


def test_a_text_that_was_forgotten_is_found() -> None:
    assert texts('<p title="Look here">{% translate "Well" %} <b>Forgotten</b></p>') == ["Look here", "Forgotten"]
    assert texts('{% load i18n %}<p class="big">{{ name }} <code>curl</code></p>') == []


def test_scripts_say_nothing_that_cannot_be_translated() -> None:
    """A sentence in a script: words with blanks between them, beginning with a capital and ending with a stop."""
    sentence = re.compile(r"""["`][A-Z][a-z']+ [^"`\n]*[a-z][.!?…]["`]""")
    for package in messages.PACKAGES:
        for path in (messages.ROOT / package).rglob("static/**/*.js"):
            code = "\n".join(line.split(" // ")[0] for line in path.read_text().splitlines())
            assert sentence.findall(code) == [], path.name
