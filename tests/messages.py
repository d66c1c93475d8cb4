"""Collects the texts of the interface into the catalogues of each language, and compiles them: `make messages`.

Collecting needs GNU gettext (Debian: apt-get install gettext); compiling and the product itself don't.
"""

import os
import shutil
import sys
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("apps/apikeys", "apps/deployments", "apps/models", "platform/modelyard")
PLURALS = {"de": "nplurals=2; plural=(n != 1);"}
"""Of languages that were begun here; another one's rule is what `makemessages` writes."""


def catalogues() -> list[Path]:
    """Every catalogue there is."""
    return sorted(found for package in PACKAGES for found in (ROOT / package).glob("locale/*/LC_MESSAGES/*.po"))


def languages(asked: list[str]) -> list[str]:
    """Those that are there, and those that are asked for."""
    return sorted({path.parts[-3] for path in catalogues()} | set(asked))


def collect(language: str) -> None:
    """Write what is there to translate into a language's catalogues; what was translated stays."""
    from django.core.management import call_command

    for package in PACKAGES:
        (ROOT / package / "locale").mkdir(exist_ok=True)
        os.chdir(ROOT / package)
        call_command("makemessages", locale=[language], no_location=True, no_obsolete=True, verbosity=0)


def tidy(path: Path) -> None:
    """Take out of a catalogue what changes with every run, and compile it."""
    found = polib.pofile(str(path), wrapwidth=120)
    language = path.parts[-3]
    plural = PLURALS.get(language, found.metadata.get("Plural-Forms", ""))
    found.header = ""
    found.metadata_is_fuzzy = False
    found.metadata = {
        "Project-Id-Version": "Modelyard",
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": plural,
    }
    found.save()
    found.save_as_mofile(str(path.with_suffix(".mo")))


def main() -> int:
    """Collect, tidy and compile; say what is left to translate."""
    if shutil.which("xgettext") is None:
        print("`make messages` needs GNU gettext: install it (Debian: apt-get install gettext), then run this again.")
        return 1
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    django.setup()
    for language in languages(sys.argv[1:]):
        collect(language)
    for path in catalogues():
        tidy(path)
        found = polib.pofile(str(path))
        left = len(found.untranslated_entries()) + len(found.fuzzy_entries())
        print(f"{path.relative_to(ROOT)}: {len(found)} texts, {left} to translate")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
