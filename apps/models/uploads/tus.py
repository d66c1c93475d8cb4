"""The tus protocol, version 1.0.0, as far as it is words: headers in and out. https://tus.io/protocols/resumable-upload"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from modelyard.problems import Problem

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
ALGORITHMS = ("sha256", "sha1")
STREAM = "application/offset+octet-stream"
STEP = "See https://tus.io, or docs/reference/uploads.md."


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must hash to."""

    algorithm: str
    digest: bytes


def check_version(headers: Mapping[str, str]) -> None:
    """A Problem for a client that speaks another version."""
    if headers.get("tus-resumable") != VERSION:
        raise Problem("tus_version", f"Send Tus-Resumable: {VERSION}.", STEP, status=412)


def number(headers: Mapping[str, str], name: str) -> int:
    """A count of bytes in a header. A Problem if there is none."""
    value = headers.get(name.lower(), "")
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise Problem("tus_header", f"{name} must say how many bytes.", STEP, status=400)
    return int(value)


def metadata(headers: Mapping[str, str], longest: int) -> dict[str, str]:
    """`Upload-Metadata`: keys with base64 values, commas between them."""
    text = headers.get("upload-metadata", "")
    if len(text) > longest:
        raise Problem("tus_header", "Upload-Metadata is too long.", f"At most {longest} characters.", status=400)
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
            if "\0" in found[key]:
                raise binascii.Error  # no database keeps it
        except (binascii.Error, UnicodeDecodeError):
            raise Problem(
                "tus_header", f"Upload-Metadata's {key[:40]!r} isn't base64 of a text.", STEP, status=400
            ) from None
    return found


def checksum(headers: Mapping[str, str]) -> Checksum | None:
    """`Upload-Checksum`: an algorithm and a base64 digest."""
    text = headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, value = text.partition(" ")
    if algorithm not in ALGORITHMS:
        step = f"Known here: {', '.join(ALGORITHMS)}."
        raise Problem("tus_checksum", f"The algorithm {algorithm[:20]!r} isn't known.", step, status=400)
    try:
        return Checksum(algorithm, base64.b64decode(value, validate=True))
    except binascii.Error:
        raise Problem("tus_checksum", "The digest isn't base64.", STEP, status=400) from None
