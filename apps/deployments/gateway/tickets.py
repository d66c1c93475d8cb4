"""Tickets with which the API's invocation view calls the gateway for a person: signed, short-lived, of one deployment.

So a call without an API key passes through the same limits, the same ledger and the same engines as any other.
"""

import json
from dataclasses import dataclass

from django.core import signing

PREFIX = b"myu_"
SALT = "modelyard.gateway.ticket"
SECONDS = 30  # from being made to being used


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who calls which deployment."""

    deployment_id: str
    user_name: str
    client: str  # the person's address


def make(deployment_id: str, user_name: str, client: str) -> str:
    """A ticket for one call that is made now."""
    signed = signing.TimestampSigner(salt=SALT).sign(
        signing.b64_encode(json.dumps([deployment_id, user_name, client]).encode()).decode()
    )
    return PREFIX.decode() + signed


def read(text: bytes) -> Ticket | None:
    """The ticket; None if it isn't one of ours, or is too old."""
    try:
        signed = text[len(PREFIX) :].decode("ascii")
        content = signing.TimestampSigner(salt=SALT).unsign(signed, max_age=SECONDS)
        deployment_id, user_name, client = json.loads(signing.b64_decode(content.encode()))
    except (signing.BadSignature, ValueError):
        return None
    return Ticket(str(deployment_id), str(user_name), str(client))
