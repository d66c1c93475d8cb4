"""/v1/rerank for cross-encoders, and /v1/classify for classifiers."""

import asyncio
from collections.abc import Sequence
from typing import Any

from .classes import ClassModel
from .openai import INLINE_CHARACTERS, MAX_INPUTS
from .refusals import Refusal, Reply, invalid
from .service import Request, Service, json_reply
from .texts import TextItem


async def rerank(service: Service, request: Request) -> Reply:
    """POST /v1/rerank."""
    body = request.json()
    service.require_model(body.get("model", service.name))
    model = _model(service, ranks=True)
    query = body.get("query")
    if not isinstance(query, str) or not query:
        raise invalid('"query" has to be a text.', param="query")
    documents = _documents(body.get("documents"))
    most = _most(body.get("top_n"), len(documents))
    items = await _tokenized(model, [(query, document) for document in documents])
    scores = [float(row[0]) for row in await service.run(model.run, items, request)]
    order = sorted(range(len(scores)), key=lambda place: -scores[place])[:most]
    shown = body.get("return_documents", True) is not False
    results = [
        {"index": place, "relevance_score": scores[place]} | ({"document": {"text": documents[place]}} if shown else {})
        for place in order
    ]
    return json_reply({"model": service.name, "results": results, "usage": _usage(service, items)})


async def classify(service: Service, request: Request) -> Reply:
    """POST /v1/classify."""
    body = request.json()
    service.require_model(body.get("model", service.name))
    model = _model(service, ranks=False)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise invalid('"input" has to be a text or a list of texts.', param="input")
    _few(texts, "input")
    items = await _tokenized(model, texts)
    rows = await service.run(model.run, items, request)
    data = [
        {"index": place, "label": model.labels[int(row.argmax())], "probs": row, "num_classes": len(row)}
        for place, row in enumerate(rows)
    ]
    return json_reply({"object": "list", "model": service.name, "data": data, "usage": _usage(service, items)})


def _model(service: Service, *, ranks: bool) -> ClassModel:
    if service.classes is None or service.classes.ranks != ranks:
        what = "rank documents" if ranks else "classify texts"
        raise Refusal(404, "no_such_task", f'Model "{service.name}" does not {what}.')
    return service.classes


def _documents(given: object) -> list[str]:
    if not isinstance(given, list) or not given:
        raise invalid('"documents" has to be a list of texts.', param="documents")
    _few(given, "documents")
    texts = [entry.get("text") if isinstance(entry, dict) else entry for entry in given]
    if not all(isinstance(text, str) and text for text in texts):
        raise invalid('Every document has to be a text, or an object with a "text".', param="documents")
    return [str(text) for text in texts]


def _few(given: Sequence[object], name: str) -> None:
    if len(given) > MAX_INPUTS:
        raise invalid(f'"{name}" has {len(given)} entries; at most {MAX_INPUTS} fit in one request.', param=name)


def _most(given: object, count: int) -> int:
    if given is None:
        return count
    if type(given) is not int or given < 1:
        raise invalid('"top_n" has to be a whole number above 0.', param="top_n")
    return min(given, count)


async def _tokenized(model: ClassModel, texts: Sequence[Any]) -> list[TextItem]:
    size = sum(len(text) if isinstance(text, str) else len(text[0]) + len(text[1]) for text in texts)
    if size <= INLINE_CHARACTERS:
        return model.tokenize(texts)
    return await asyncio.to_thread(model.tokenize, texts)


def _usage(service: Service, items: Sequence[TextItem]) -> dict[str, int]:
    tokens = sum(item.length for item in items)
    service.measures.tokens(tokens)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
