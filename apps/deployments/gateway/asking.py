"""Asks the engine for the usage of a stream, in place of a caller who didn't.

No body is parsed: it is looked for keys of the outermost object, near its beginning or its end. Inside a JSON string
their quotes would be escaped, so a text that passes can't pretend to be one.
"""

import re

STREAMED = re.compile(rb'"stream"\s*:\s*true\b')
OPTIONS = re.compile(rb'"stream_options"\s*:\s*(null|\{[^{}]*\})')
INCLUDED = re.compile(rb'"include_usage"\s*:\s*(true|false)')
ASK = b'"include_usage":true'
MEMBER = b',"stream_options":{%s}' % ASK
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
NEAR = 64 * 1024  # bytes from the beginning or the end in which keys are looked for


def asking(body: bytes) -> tuple[bytes, bool]:
    """A request's body as the engine gets it, and whether it asks for usage that its caller didn't ask for."""
    found = _find(STREAMED, body) if b'"stream"' in body else None
    if found is None:
        return body, False
    if OPTIONS.search(body) is None:
        return body[: found.end()] + MEMBER + body[found.end() :], True
    options = _find(OPTIONS, body)
    changed = _with_usage(options) if options else None
    if options is None or changed is None:
        return body, False
    return body[: options.start(1)] + changed + body[options.end(1) :], True


class Late:
    """The same for a body that goes on before it is whole: its end is held back, and its length is told beforehand.

    What isn't needed of the `EXTRA` bytes is filled with spaces, which JSON allows behind the object. A body that
    has `stream` near its end and `stream_options` near its beginning is left as it is.
    """

    EXTRA = len(MEMBER)

    def __init__(self) -> None:
        self.asked = False
        self._streamed = self._settled = self._begun = False
        self._owed = self.EXTRA
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What of it goes on now."""
        if not self._begun:
            self._begun = True
            data = self._at_the_beginning(data)
        data = self._held + data
        cut = max(len(data) - NEAR, 0)
        self._held = data[cut:]
        return data[:cut]

    def end(self) -> bytes:
        """The rest, as long as was told."""
        rest, self._held = self._held, b""
        streamed = self._streamed or _find(STREAMED, rest, ends=True) is not None
        if streamed and not self._settled:
            rest = self._at_the_end(rest)
        return rest + b" " * self._owed

    def _at_the_beginning(self, data: bytes) -> bytes:
        self._streamed = _find(STREAMED, data[:NEAR], begins=True) is not None
        options = _find(OPTIONS, data[:NEAR], begins=True)
        if options is None:
            return data
        self._settled = True
        return self._replace(data, options) if self._streamed else data

    def _at_the_end(self, rest: bytes) -> bytes:
        options = _find(OPTIONS, rest, ends=True)
        if options:
            return self._replace(rest, options)
        at = rest.rfind(b"}")
        if at < 0:
            return rest
        self.asked = True
        self._owed = 0
        return rest[:at] + MEMBER + rest[at:]

    def _replace(self, data: bytes, options: re.Match[bytes]) -> bytes:
        changed = _with_usage(options)
        if changed is None:
            return data
        self.asked = True
        self._owed -= len(changed) - len(options[1])
        return data[: options.start(1)] + changed + data[options.end(1) :]


def _with_usage(options: re.Match[bytes]) -> bytes | None:
    """The options, asking for usage; None if they do already."""
    said = INCLUDED.search(options[1])
    if said and said[1] == b"true":
        return None
    if said:
        return options[1][: said.start()] + ASK + options[1][said.end() :]
    rest = b"}" if options[1] == b"null" else options[1][1:].lstrip()
    return b"{%b%b%b" % (ASK, b"" if rest == b"}" else b",", rest)


def _find(
    pattern: re.Pattern[bytes], body: bytes, *, begins: bool = False, ends: bool = False
) -> re.Match[bytes] | None:
    """The first match that belongs to the outermost object, of a body or of its beginning or end."""
    for found in pattern.finditer(body):
        if _outermost(body, found, before=begins or (not ends and found.start() <= len(body) - found.end())):
            return found
    return None


def _outermost(body: bytes, found: re.Match[bytes], *, before: bool) -> bool:
    """Is it a member of the outermost object? Told by the braces on one side of it."""
    part = body[: found.start()] if before else body[found.end() :]
    if len(part) > NEAR:
        return False
    bare = STRING.sub(b"", part)
    curly, square = bare.count(b"{") - bare.count(b"}"), bare.count(b"[") - bare.count(b"]")
    return (curly, square) == ((1, 0) if before else (-1, 0))
