"""What an import finds out about a model, and what every rule found."""

from dataclasses import dataclass, field
from typing import Any

from apps.models.formats.templates import Template
from apps.models.models import Level
from apps.models.rules import Found, Policy, printable


@dataclass
class Facts:
    """What the files say of the model, the report of the rules, and the files to leave out.

    `data` are files that ONNX graphs keep weights in; `policy` is what people decided of this import.
    """

    format: str = ""
    task: str = ""
    architecture: str = ""
    parameter_count: int | None = None
    context_length: int | None = None
    licence: str = ""
    findings: list[Found] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    data: set[str] = field(default_factory=set)
    chat_templates: list[Template] = field(default_factory=list)
    adapter: dict[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)

    def passed(self, rule: str, finding: str) -> None:
        """A rule that found nothing wrong; nothing is said of one that was overridden just now."""
        if rule not in self.policy.counts:
            self.findings.append(Found(rule, Level.PASS, printable(finding)))

    def warn(self, rule: str, finding: str, next_step: str) -> None:
        """A rule that found something to know."""
        self.findings.append(Found(rule, Level.WARN, printable(finding), next_step))

    def block(self, rule: str, finding: str, next_step: str) -> None:
        """A rule that ends the import, unless somebody overrode it."""
        self.policy.block(rule, finding, next_step)
