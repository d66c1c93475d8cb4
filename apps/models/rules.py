"""The rules of an import, in one table: what each checks, and what to do when it finds something.

`docs/reference/import-rules.md` says the same; a test compares the two.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.models.credentials import redacted
from apps.models.models import Level

TOO_SLOW = (
    "Look at what is in the files: headers and small files are checked, which takes little time however large the "
    "weights are. If they are wanted, ask the operator to raise MODELYARD_CHECK_SECONDS, then retry the import."
)
SHOWN = 5  # findings of one overridden rule; the rest are counted


@dataclass(frozen=True)
class Rule:
    """One rule: its ID for ever, what it checks, how it ends when it finds something, and what it protects from.

    `overridable`: a person with the permission may let a model in nevertheless, with a reason.
    """

    id: str
    title: str | Promise
    level: Level
    protects: str | Promise = ""
    overridable: bool = False


@dataclass(frozen=True)
class Found:
    """One line of a report."""

    rule: str
    level: Level
    finding: str
    next_step: str = ""


def printable(text: str) -> str:
    """Text from a model's files without what a database can't keep or a screen can't show, and without credentials."""
    clean = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
    return redacted(clean)


class Blocked(Exception):
    """A rule that ends the import."""

    def __init__(self, rule: str, finding: str, next_step: str) -> None:
        super().__init__(finding)
        self.found = Found(rule, Level.BLOCK, printable(finding), next_step)


@dataclass
class Policy:
    """What people decided of this import: rules that were overridden, and by whom and why.

    `alive` is called between files, so that whoever checks very many of them is still known to be at it. All of them
    together may take so many `seconds`, from the first one on; 0: any.
    """

    overridden: Mapping[str, str] = field(default_factory=dict)
    findings: list[Found] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    alive: Callable[[], None] = lambda: None
    seconds: float = 0
    began: float = 0

    def each[T](self, things: Iterable[T]) -> Iterator[T]:
        """One after the other, with a sign of life before each. Blocked when the time is over."""
        for thing in things:
            self.alive()
            now = time.monotonic()
            self.began = self.began or now
            if self.seconds and now - self.began > self.seconds:
                said = f"Checking the files takes longer than the {self.seconds:g} seconds that it may."
                raise Blocked("MYI019", said, TOO_SLOW)
            yield thing

    def block(self, rule: str, finding: str, next_step: str) -> None:
        """End the import by this rule; if it was overridden, note that it would have ended here."""
        if rule not in self.overridden:
            raise Blocked(rule, finding, next_step)
        found = Found(rule, Level.WARN, printable(finding), self.overridden[rule])
        self.counts[rule] = self.counts.get(rule, 0) + 1
        if self.counts[rule] <= SHOWN and found not in self.findings:
            self.findings.append(found)


RULES = {
    rule.id: rule
    for rule in (
        Rule("MYI001", _("The file is a readable zip archive"), Level.BLOCK),
        Rule("MYI002", _("Every entry stays inside the archive's folder"), Level.BLOCK),
        Rule("MYI003", _("No links or special files"), Level.BLOCK),
        Rule("MYI004", _("No name stands twice, in any spelling"), Level.BLOCK),
        Rule(
            "MYI005",
            _("No file is an archive of its own"),
            Level.BLOCK,
            _("Archives among the files hide what is in them from every other check."),
            overridable=True,
        ),
        Rule("MYI006", _("Size, number and compression of entries are plausible"), Level.BLOCK),
        Rule("MYI007", _("No encrypted entries"), Level.BLOCK),
        Rule("MYI008", _("There is enough free disk space"), Level.BLOCK),
        Rule(
            "MYI009",
            _("Every name is possible on every disk"),
            Level.BLOCK,
            _("Names that Windows reserves or changes hide what a file is, and break copies of the model."),
            overridable=True,
        ),
        Rule("MYI010", _("The weights are in a format that can be served"), Level.BLOCK),
        Rule("MYI011", _("Pickle-based weights are left out"), Level.WARN),
        Rule("MYI012", _("The ONNX graph can be read, and its data lies beside it"), Level.BLOCK),
        Rule("MYI013", _("The safetensors headers are consistent"), Level.BLOCK),
        Rule("MYI014", _("The GGUF header is consistent"), Level.BLOCK),
        Rule("MYI015", _("Pickle-based weights import nothing but tensors"), Level.BLOCK),
        Rule(
            "MYI016",
            _("Pickle-based weights aren't the only ones"),
            Level.BLOCK,
            _(
                "Loading a pickle runs what it names. These name only what tensors are built from, as far as that can "
                "be read without running them; a mistake in that check, or in the engine that loads them, runs code."
            ),
            overridable=True,
        ),
        Rule("MYI017", _("No pickle hides under another name"), Level.BLOCK),
        Rule(
            "MYI018",
            _("Every file is what its name says"),
            Level.BLOCK,
            _("Archives and programs under other names are looked into by nobody, until something opens them."),
            overridable=True,
        ),
        Rule("MYI019", _("The checks end in time"), Level.BLOCK),
        Rule("MYI020", _("The tokenizer can be read"), Level.BLOCK),
        Rule("MYI021", _("The configuration can be read"), Level.BLOCK),
        Rule("MYI022", _("The model brings no code of its own"), Level.WARN),
        Rule("MYI023", _("A licence is stated"), Level.WARN),
        Rule("MYI024", _("The ONNX operators are those of known domains"), Level.WARN),
        Rule(
            "MYI025",
            _("JSON files are bounded, and say everything once"),
            Level.BLOCK,
            _(
                "Files that are deep, huge or say a thing twice exhaust who reads them, or mean one thing to these "
                "checks and another to the engine."
            ),
            overridable=True,
        ),
        Rule(
            "MYI026",
            _("The tokenizer stays within bounds"),
            Level.BLOCK,
            _(
                "A tokenizer that grows its input, or a pattern that tries every way to match, can stop an engine with "
                "one request."
            ),
            overridable=True,
        ),
        Rule(
            "MYI027",
            _("Chat templates stay within the sandbox and its limits"),
            Level.BLOCK,
            _(
                "A chat template is a program that the engine runs for every request. This one reaches for what no "
                "conversation needs, or takes too long."
            ),
            overridable=True,
        ),
        Rule("MYI028", _("Chat templates render a conversation"), Level.WARN),
        Rule("MYI029", _("The files hold no credentials"), Level.WARN),
        Rule("MYI030", _("deployconfig.json can be read"), Level.WARN),
        Rule("MYI031", _("deployconfig.json is of a known version"), Level.WARN),
        Rule("MYI032", _("Each downloaded file has the size and the hash that the hub states"), Level.BLOCK),
        Rule("MYI035", _("A bundle's files are those of its manifest"), Level.BLOCK),
        Rule("MYI040", _("An adapter says what it is, and its matrices fit each other"), Level.BLOCK),
        Rule("MYI041", _("An adapter's base model is here"), Level.BLOCK),
        Rule("MYI042", _("An adapter's modules are in its base, with the same sizes"), Level.BLOCK),
    )
}
