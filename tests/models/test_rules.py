"""The reference of the import rules says what the code does."""

import re
from pathlib import Path

from apps.models import archive, names, operations, zips
from apps.models.formats import documents, onnx, rendering, templates, tokenizers
from apps.models.formats.suffixes import ARCHIVES, PICKLES
from apps.models.models import Level
from apps.models.overrides import operations as overrides
from apps.models.rules import RULES, Rule

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = (DOCS / "reference/import-rules.md").read_text()
GUIDE = (DOCS / "guides/import-a-model.md").read_text()


def overridden(rule: Rule) -> str:
    return "Yes" if rule.overridable else "No" if rule.level == Level.BLOCK else "—"


def test_the_table_is_the_codes() -> None:
    rows = re.findall(r"^\| (MYI\d+) \| (.+) \| (\w+) \| (Yes|No|—) \|$", REFERENCE, re.MULTILINE)
    assert rows == [(rule.id, rule.title, rule.level.label, overridden(rule)) for rule in RULES.values()]


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
    assert f"{names.MAX_PATH} characters and {names.MAX_PARTS} parts" in REFERENCE
    assert f"list of entries may have {zips.MAX_DIRECTORY // 2**20} MiB" in REFERENCE
    assert f"{documents.MAX_VALUES:,} values" in REFERENCE
    assert f"objects {documents.MAX_DEPTH} deep" in REFERENCE
    assert f"at most {tokenizers.MAX_VOCABULARY:,} tokens, {tokenizers.MAX_MERGES:,} merges" in REFERENCE
    assert f"{tokenizers.MAX_PATTERN:,} characters" in REFERENCE
    assert f"At most {templates.MAX_TEMPLATES}, of {templates.MAX_LENGTH:,} characters" in REFERENCE
    assert f"{rendering.CPU_SECONDS} s of CPU time, {rendering.MEMORY // 2**20} MiB" in REFERENCE
    assert f"{onnx.MAX_NODES:,} nodes, {onnx.MAX_DEPTH} graphs in one another" in REFERENCE
    assert f"{onnx.MAX_FUNCTIONS:,} functions, and data in {onnx.MAX_LOCATIONS:,} other files" in REFERENCE
    assert f"Beyond {onnx.MAX_DOMAINS:,} domains" in REFERENCE
    assert f"up to {operations.MAX_NAME} characters" in GUIDE


def test_which_rules_may_be_overridden_and_which_never_is_said() -> None:
    section = REFERENCE[REFERENCE.index("## Overriding a rule") :]
    may, never = section.split("The other rules can't be overridden")
    assert set(re.findall(r"\*\*(MYI\d+)", may)) == {rule.id for rule in RULES.values() if rule.overridable}
    blocks = {rule.id for rule in RULES.values() if rule.level == Level.BLOCK and not rule.overridable}
    assert set(re.findall(r"MYI\d+", never)) == blocks
    assert all(rule.protects for rule in RULES.values() if rule.overridable)
    assert f"kept for {overrides.KEPT_DAYS} days" in section


def test_the_suffixes_are_the_codes() -> None:
    assert all(f"`{suffix}`" in REFERENCE for suffix in (*ARCHIVES, *PICKLES))
