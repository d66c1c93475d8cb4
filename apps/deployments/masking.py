"""Keeps secrets out of what engines print before anybody sees it."""

import re
from collections.abc import Iterable

from apps.deployments.usage.redaction import KEY_PREFIXES

MASK = "[secret]"
WHOLE = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    rf"|\b(?:{KEY_PREFIXES})[-_][A-Za-z0-9_-]{{12,}}|\b(?:AKIA|ASIA)[A-Z0-9]{{16}}\b|\bAIza[\w-]{{30,}}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----)[\s\S])*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
NAMED = re.compile(
    r"(?i)((?:\b(?:bearer|basic)\s+|(?:api[_-]?key|secret|token|password|passwd)[\"']?\s*[:= ]\s*[\"']?))"
    r"(?=[^\s\"',;&}]*\d)(?=[^\s\"',;&}]*[a-z])([^\s\"',;&}]{8,})"
)
"""What a name gives away. Engines print token numbers and words all the time: only what mixes both is taken out."""
IN_ADDRESS = re.compile(r"(\w+://[^\s/:@]*:)[^\s/@]+(?=@)")


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without these secrets, and without what looks like one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    text = WHOLE.sub(MASK, text)
    text = IN_ADDRESS.sub(rf"\1{MASK}", text)
    return NAMED.sub(rf"\1{MASK}", text)
