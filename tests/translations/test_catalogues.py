"""Every text of the interface has a complete translation, and what is installed is what was translated."""

import re
from pathlib import Path

import polib
import pytest

from tests import messages

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|%s|\{\w*\}|</?\w+>")
ALL = messages.catalogues()
NAMES = [str(path.relative_to(messages.ROOT)) for path in ALL]


def placeholders(text: str) -> list[str]:
    return sorted(PLACEHOLDER.findall(text))


def test_each_package_with_texts_has_a_german_catalogue() -> None:
    assert {f"{package}/locale/de/LC_MESSAGES/django.po" for package in messages.PACKAGES} <= set(NAMES)


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_every_text_is_translated_and_none_is_a_guess(path: Path) -> None:
    found = polib.pofile(str(path))
    assert [entry.msgid for entry in found if not entry.translated() or entry.fuzzy] == []


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_translations_have_the_placeholders_of_their_texts(path: Path) -> None:
    for entry in polib.pofile(str(path)):
        several = [
            (entry.msgid_plural if number else entry.msgid, text) for number, text in entry.msgstr_plural.items()
        ]
        for text, translation in several or [(entry.msgid, entry.msgstr)]:
            assert placeholders(text) == placeholders(translation), entry.msgid
            assert ('"' in text) or ('"' not in translation), f"It would end an attribute: {translation}"
            assert (text[:1].isspace(), text[-1:].isspace()) == (translation[:1].isspace(), translation[-1:].isspace())


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_what_is_compiled_is_what_was_translated(path: Path) -> None:
    wanted = {entry.msgid: (entry.msgstr, entry.msgstr_plural) for entry in polib.pofile(str(path))}
    compiled = polib.mofile(str(path.with_suffix(".mo")))
    assert {entry.msgid: (entry.msgstr, entry.msgstr_plural) for entry in compiled} == wanted


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_a_catalogue_names_nobody_and_no_day(path: Path) -> None:
    found = polib.pofile(str(path))
    assert set(found.metadata) == {
        "Project-Id-Version", "Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Plural-Forms",
    }  # fmt: skip
    assert all(not entry.occurrences for entry in found)


def test_one_text_has_one_translation_in_every_package() -> None:
    """Django puts all catalogues of a language into one: of two translations, one would be seen by nobody."""
    for language in messages.languages([]):
        known: dict[str, tuple[str, object]] = {}
        for path in ALL:
            if path.parts[-3] == language:
                for entry in polib.pofile(str(path)):
                    said = (entry.msgstr, entry.msgstr_plural)
                    assert known.setdefault(entry.msgid, said) == said, entry.msgid
