"""The reference of the import rules says what the code does."""

import re
from pathlib import Path

from apps.models import archive, operations
from apps.models.formats.inspect import PICKLES
from apps.models.rules import RULES

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = (DOCS / "reference/import-rules.md").read_text()
GUIDE = (DOCS / "guides/import-a-model.md").read_text()


def test_the_table_is_the_codes() -> None:
    rows = re.findall(r"^\| (MYI\d+) \| (.+) \| (\w+) \|$", REFERENCE, re.MULTILINE)
    assert rows == [(rule.id, rule.title, rule.level.label) for rule in RULES.values()]


def test_every_rule_is_explained() -> None:
    explained = re.findall(r"MYI\d+", REFERENCE[REFERENCE.index("## What each") :])
    assert set(explained) == set(RULES)


def test_every_rule_that_the_code_names_is_in_the_table() -> None:
    sources = (DOCS.parent / "apps/models").rglob("*.py")
    named = {rule for path in sources for rule in re.findall(r'"(MYI\d+)"', path.read_text())}
    assert named == set(RULES)


def test_the_limits_are_the_codes() -> None:
    assert f"at most {archive.MAX_ENTRIES:,} entries" in REFERENCE
    assert f"above {archive.RATIO_FLOOR // 2**20} MiB" in REFERENCE
    assert f"more than {archive.MAX_RATIO} times" in REFERENCE
    assert f"with {archive.FREE_RESERVE // 2**20} MiB to spare" in REFERENCE
    assert f"have {archive.MAX_NAME} bytes" in REFERENCE
    assert f"{archive.MAX_PATH} characters" in REFERENCE
    assert f"up to {operations.MAX_NAME} characters" in GUIDE


def test_the_suffixes_are_the_codes() -> None:
    assert all(f"`{suffix}`" in REFERENCE for suffix in (*archive.ARCHIVES, *PICKLES))
