"""The rules of an import, in one table: what each checks, and what to do when it finds something.

`docs/reference/import-rules.md` says the same; a test compares the two.
"""

from dataclasses import dataclass

from apps.models.models import Level


@dataclass(frozen=True)
class Rule:
    """One rule: its ID for ever, what it checks, and how it ends when it finds something."""

    id: str
    title: str
    level: Level


@dataclass(frozen=True)
class Found:
    """One line of a report."""

    rule: str
    level: Level
    finding: str
    next_step: str = ""


def printable(text: str) -> str:
    """Text from a model's files without what a database can't keep or a screen can't show."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


class Blocked(Exception):
    """A rule that ends the import."""

    def __init__(self, rule: str, finding: str, next_step: str) -> None:
        super().__init__(finding)
        self.found = Found(rule, Level.BLOCK, printable(finding), next_step)


RULES = {
    rule.id: rule
    for rule in (
        Rule("MYI001", "The file is a readable zip archive", Level.BLOCK),
        Rule("MYI002", "Every entry stays inside the archive's folder", Level.BLOCK),
        Rule("MYI003", "No links or special files", Level.BLOCK),
        Rule("MYI004", "No name stands twice, in any spelling", Level.BLOCK),
        Rule("MYI005", "No archive inside the archive", Level.BLOCK),
        Rule("MYI006", "Size, number and compression of entries are plausible", Level.BLOCK),
        Rule("MYI007", "No encrypted entries", Level.BLOCK),
        Rule("MYI008", "There is enough free disk space", Level.BLOCK),
        Rule("MYI010", "The weights are in a format that can be served", Level.BLOCK),
        Rule("MYI011", "Pickle-based weights are left out", Level.WARN),
        Rule("MYI012", "The ONNX graph can be read, and its data lies beside it", Level.BLOCK),
        Rule("MYI013", "The safetensors headers are consistent", Level.BLOCK),
        Rule("MYI014", "The GGUF header is consistent", Level.BLOCK),
        Rule("MYI020", "The tokenizer can be read", Level.BLOCK),
        Rule("MYI021", "The configuration can be read", Level.BLOCK),
        Rule("MYI022", "The model brings no code of its own", Level.WARN),
        Rule("MYI023", "A licence is stated", Level.WARN),
        Rule("MYI030", "deployconfig.json can be read", Level.WARN),
        Rule("MYI031", "deployconfig.json is of a known version", Level.WARN),
        Rule("MYI032", "Each downloaded file has the size and the hash that the hub states", Level.BLOCK),
        Rule("MYI035", "A bundle's files are those of its manifest", Level.BLOCK),
        Rule("MYI040", "An adapter says what it is, and its matrices fit each other", Level.BLOCK),
        Rule("MYI041", "An adapter's base model is here", Level.BLOCK),
        Rule("MYI042", "An adapter's modules are in its base, with the same sizes", Level.BLOCK),
    )
}
