"""Logs: followed as it is written, searched, by replica and by start, and downloaded."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

from apps.deployments import logs, operations
from apps.deployments.models import Deployment
from apps.deployments.statuses import ReplicaState
from apps.deployments.tabs.frame import find, page

ENDED = 20  # replicas whose logs can be chosen, beside those that haven't
WORD = 200  # characters of a search


def tab(request: HttpRequest, pk: str) -> HttpResponse:
    """The page; its script asks `lines` for what is new."""
    deployment = find(request, pk)
    return page(request, deployment, "logs", "logs.html", lambda: _log(request, deployment))


def _log(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    chosen = logs.source(deployment, request.GET.get("replica", ""), request.GET.get("start", ""))
    if chosen is None and request.GET.get("replica"):
        chosen = logs.source(deployment)
    rows = operations.known_replicas(deployment, ended=ENDED)
    return {
        "source": chosen,
        "replicas": [(row, ReplicaState(row.state).label) for row in rows],
        "starts": logs.starts(chosen) if chosen else [],
        "tail": logs.tail(chosen) if chosen else None,
    }


def lines(request: HttpRequest, pk: str) -> JsonResponse:
    """A part of the log as JSON: the end, what is new since a cursor, what stood before one, or what a search finds."""
    chosen = logs.source(find(request, pk), request.GET.get("replica", ""), request.GET.get("start", ""))
    if chosen is None:
        raise Http404
    word, asked = request.GET.get("q", "")[:WORD], request.GET
    if word:
        found = logs.search(chosen, word)
    elif "after" in asked:
        found = logs.follow(chosen, asked["after"])
    elif "before" in asked:
        found = logs.earlier(chosen, asked["before"])
    elif "around" in asked:
        found = logs.around(chosen, asked["around"])
    else:
        found = logs.tail(chosen)
    ended = chosen.replica.state == ReplicaState.ENDED
    return JsonResponse({**found, "ended": ended}, headers={"Cache-Control": "no-store"})


def download(request: HttpRequest, pk: str) -> StreamingHttpResponse:
    """The whole log, or one start of it, as a file."""
    chosen = logs.source(find(request, pk), request.GET.get("replica", ""), request.GET.get("start", ""))
    if chosen is None:
        raise Http404
    name = f"{pk}-{chosen.replica.pk}{f'-start-{chosen.launch}' if chosen.launch else ''}.log"
    headers = {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=name) or "attachment",
        "Cache-Control": "no-store",
    }
    return StreamingHttpResponse(
        _following(logs.download(chosen)), content_type="text/plain; charset=utf-8", headers=headers
    )


async def _following(parts: Iterator[str]) -> AsyncIterator[str]:
    """Each part is read when the one before has gone out, in a thread that no other request waits for."""
    following: Any = sync_to_async(partial(next, parts, None), thread_sensitive=False)
    while (part := await following()) is not None:
        yield part
