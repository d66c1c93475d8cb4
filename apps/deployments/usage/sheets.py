"""Tables for spreadsheets, sent as they are read, and safe to open in one."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import batched
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

AT_ONCE = 500  # lines that are sent together
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def sheet(name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A CSV file of that name, read from the database while it is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(_sent(lines(heads, rows)), content_type="text/csv; charset=utf-8", headers=headers)


def lines(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The file, some hundred lines at a time, the first with the heads."""
    yield _text([heads])
    for some in batched(rows, AT_ONCE):
        yield _text(some)


async def _sent(parts: Iterator[str]) -> AsyncIterator[bytes]:
    following = sync_to_async(lambda: next(parts, None))
    while (part := await following()) is not None:
        yield part.encode()


def _text(rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a mark in front that makes it a text."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return round(value, 3)
    return value.isoformat() if hasattr(value, "isoformat") else value
