"""What every failure and finding owes to the person who reads it."""

import re

from modelyard.runtimes import Failure, Finding, Level

CODE = re.compile(r"[a-z][a-z0-9_]*")
LONGEST = 600  # characters of a message that is still a line on a page


def assert_explained(failure: Failure) -> None:
    """A failure says in one line what happened, in another what to do, and shows nobody a stack trace."""
    assert isinstance(failure, Failure), f"{failure!r} is no Failure"
    _assert_readable(failure.code, failure.message)
    assert failure.next_step.strip(), f"{failure.code} doesn't say what to do next"
    assert "\n" not in failure.next_step, f"the next step of {failure.code} has several lines"


def assert_finding(finding: Finding) -> None:
    """A finding has a code and a message; one that blocks says what would help."""
    assert finding.level in Level
    _assert_readable(finding.code, finding.message)
    assert finding.level != Level.BLOCK or finding.fix.strip(), f"{finding.code} blocks and doesn't say what would help"


def _assert_readable(code: str, message: str) -> None:
    assert CODE.fullmatch(code), f"{code!r} is no code such as out_of_memory"
    assert message.strip(), f"{code} has no message"
    assert "\n" not in message, f"the message of {code} has several lines: {message!r}"
    assert len(message) <= LONGEST, f"the message of {code} has {len(message)} characters"
    assert "Traceback (most recent call last)" not in message, f"the message of {code} is a stack trace"
