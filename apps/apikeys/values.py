"""What people may say of a key: each value checked, and brought into the one form that is stored."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypedDict

from django.utils import timezone

from apps.apikeys import words
from apps.apikeys.models import LIMITS
from apps.apikeys.scopes import SCOPES
from modelyard.problems import Problem

MAX_NAME, MAX_NOTES, MAX_NETWORKS = 100, 2000, 100
MAX_LIMIT = 10**15
MAPPED_BITS = 96  # of an IPv6 address that stands for an IPv4 one (RFC 4291, 2.5.5.2)


class Details(TypedDict, total=False):
    """What a key has besides its name. Limits: none is unlimited, 0 lets nothing pass."""

    notes: str
    scopes: Iterable[str]
    networks: Iterable[str]
    expires_at: datetime | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    tokens_per_month: int | None
    concurrent_requests: int | None


class Edits(Details, total=False):
    """What may be changed of a key."""

    name: str


def clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values by field, as they are stored; a Problem that names the first wrong one."""
    return {field: CLEANERS[field](value) for field, value in given.items()}


def name(value: str) -> str:
    """A name in one line."""
    cleaned = " ".join(value.split())
    if not cleaned or len(cleaned) > MAX_NAME or not cleaned.isprintable():
        raise _wrong("name", "The name of the key isn't valid.", f"Give it 1 to {MAX_NAME} characters.")
    return cleaned


def notes(value: str) -> str:
    """Any text."""
    cleaned = value.replace("\r\n", "\n").strip()
    if len(cleaned) > MAX_NOTES or "\0" in cleaned:
        raise _wrong("notes", "The notes aren't valid.", f"Keep them to {MAX_NOTES} characters of text.")
    return cleaned


def scopes(values: Iterable[str]) -> list[str]:
    """Names of scopes, each once, in their usual order."""
    wanted = list(values)
    unknown = next((each for each in wanted if each not in SCOPES), None)
    if unknown is not None:
        raise _wrong("scopes", f"There is no scope “{str(unknown)[:50]}”.", f"Choose from: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in wanted]


def networks(values: Iterable[str]) -> list[str]:
    """Addresses and networks, each once; an address stands for itself alone."""
    found = list(dict.fromkeys(_network(str(value).strip()) for value in values if str(value).strip()))
    if len(found) > MAX_NETWORKS:
        raise _wrong("networks", f"A key has at most {MAX_NETWORKS} networks.", "Put neighbours into one network.")
    return found


def expires_at(value: datetime | None) -> datetime | None:
    """A moment that is yet to come, or none."""
    if value is not None and value <= timezone.now():
        raise _wrong("expiry", "The key would have expired already.", "Choose a later date, or none.")
    return value


def limit(field: str, value: int | None) -> int | None:
    """None for unlimited, or a number from 0 on."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LIMIT):
        return value
    raise _wrong("limit", f"The limit of {words.LABELS[field]} isn't valid.",
                 f"Give a whole number from 0 (nothing passes) to {MAX_LIMIT:,}, or none for unlimited.")  # fmt: skip


def _network(text: str) -> str:
    where = "Write one as 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/32."
    said = text[:50]
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise _wrong("networks", f"“{said}” is no address and no network.", where) from None
    if "%" in text:
        raise _wrong("networks", f"“{said}” names an interface of one machine.", where)
    if str(network.network_address) != str(ip_network(text.partition("/")[0]).network_address):
        # Taken as it stands it would be wider than whoever wrote it may think.
        raise _wrong("networks", f"“{said}” is an address within a network, not a network.",
                     f"Write {network} for the network, or {text.partition('/')[0]} for the address.")  # fmt: skip
    return _shortest(network)


def _shortest(network: IPv4Network | IPv6Network) -> str:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= MAPPED_BITS:
        network = IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _wrong(what: str, message: str, next_step: str) -> Problem:
    return Problem(f"invalid_{what}", message, next_step, status=400)


CLEANERS: dict[str, Callable[[Any], Any]] = {
    "name": name, "notes": notes, "scopes": scopes, "networks": networks, "expires_at": expires_at,
    **{field: partial(limit, field) for field in LIMITS},
}  # fmt: skip
FIELD_OF = {"invalid_name": "name", "invalid_notes": "notes", "invalid_scopes": "scopes",
            "invalid_networks": "networks", "invalid_expiry": "expires_at"}  # fmt: skip
