"""Which of an engine's paths a caller may use: what the runtime lists, compared strictly."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import unquote

from apps.deployments.gateway import errors
from apps.deployments.routing import Route

SUSPICIOUS = re.compile(r"%2f|%5c|%00|%2e|\\|//|/\.{1,2}(/|$)", re.IGNORECASE)
"""What servers disagree about: encoded separators and dots, empty and dot segments."""
PREFIX = re.compile(r"^/d/([^/]*)(/.*)?$")


KNOWN = 1000  # addresses of one deployment whose path was compared before
LONG = 500  # bytes of an address that isn't remembered


@dataclass(frozen=True)
class Table:
    """A deployment's route with its paths ready to be compared."""

    route: Route
    exact: dict[str, frozenset[str]]
    patterns: list[tuple[re.Pattern[str], frozenset[str]]]
    known: dict[tuple[str, bytes], tuple[str, bytes]] = field(default_factory=dict, compare=False)

    def resolve(self, method: str, url: bytes) -> tuple[str, bytes]:
        """The engine's path, and the target with its query, of a request; Refused unless the runtime lists it."""
        found = self.known.get((method, url))
        if found is None:
            raw, mark, query = url.partition(b"?")
            named, path = split(raw.decode("ascii", "replace"))
            if named is not None and named != self.route.deployment_id:
                raise errors.other_deployment()
            self._check(method, path)
            found = path, path.encode("ascii") + mark + query
            if len(self.known) < KNOWN and len(url) < LONG:
                self.known[(method, url)] = found
        return found

    def methods(self, path: str) -> frozenset[str]:
        """The methods that a path takes; none if it isn't listed."""
        found = self.exact.get(path)
        if found is None:
            found = frozenset().union(*(methods for pattern, methods in self.patterns if pattern.fullmatch(path)))
        return found

    def _check(self, method: str, raw: str) -> None:
        if SUSPICIOUS.search(raw) or not raw.isascii():
            raise errors.no_path(raw)
        methods = self.methods(unquote(raw))
        if not methods:
            raise errors.no_path(raw)
        if method not in methods and not (method == "HEAD" and "GET" in methods):
            raise errors.wrong_method(", ".join(sorted(methods)))


def table(route: Route) -> Table:
    """The route with its paths compiled."""
    grouped: dict[str, set[str]] = defaultdict(set)
    for rule in route.paths:
        grouped[rule.path].add(rule.method.upper())
    exact = {path: frozenset(methods) for path, methods in grouped.items() if "{" not in path}
    patterns = [(_pattern(path), frozenset(methods)) for path, methods in grouped.items() if "{" in path]
    return Table(route, exact, patterns)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", path)
    return re.compile("[^/]+".join(re.escape(part) for part in parts))


def split(raw: str) -> tuple[str | None, str]:
    """A request's path as deployment ID (None where the key names it) and the engine's path."""
    found = PREFIX.match(raw)
    return (found[1], found[2] or "/") if found else (None, raw)
