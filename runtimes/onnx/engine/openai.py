"""OpenAI's endpoints: /v1/embeddings and /v1/models."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from .refusals import Refusal, Reply, invalid
from .service import Request, Service, json_reply
from .tensors import Array
from .texts import TextItem, TextModel, shorten

MAX_INPUTS = 2048
INLINE_CHARACTERS = 4_000
"""Tokenizing this much takes well under a millisecond, less than a thread's round trip costs under load."""


async def list_models(service: Service, _request: Request) -> Reply:
    """GET /v1/models."""
    return json_reply({"object": "list", "data": [_model(service)]})


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.name, "object": "model", "created": service.started_at, "owned_by": "modelyard"}


async def embed(service: Service, request: Request) -> Reply:
    """POST /v1/embeddings."""
    body = request.json()
    if "model" not in body:
        raise invalid('"model" is missing.', param="model")
    service.require_model(body["model"])
    model = _text_model(service)
    encode = _encoding(body.get("encoding_format"))
    dimensions = _dimensions(body.get("dimensions"))
    items = await _items(model, body.get("input"), _prompt(model, body))
    vectors = await service.run(model.run, items, request)
    tokens = sum(item.length for item in items)
    service.measures.tokens(tokens)
    data = [_entry(place, encode(shorten(vector, dimensions))) for place, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_reply({"object": "list", "data": data, "model": service.name, "usage": usage})


def _entry(place: int, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": place, "embedding": embedding}


def _text_model(service: Service) -> TextModel:
    if service.texts is None:
        raise Refusal(404, "no_embeddings", f'Model "{service.name}" does not embed text. Use /v2/models/.../infer.')
    return service.texts


def _encoding(wanted: object) -> Any:
    if wanted in (None, "float"):
        return lambda vector: vector
    if wanted == "base64":
        return _base64
    raise invalid('"encoding_format" has to be "float" or "base64".', param="encoding_format")


def _base64(vector: Array) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


def _dimensions(wanted: object) -> int | None:
    if wanted is None or (type(wanted) is int and wanted > 0):
        return wanted
    raise invalid('"dimensions" has to be a whole number above 0.', param="dimensions")


def _prompt(model: TextModel, body: Mapping[str, Any]) -> str:
    """What goes before each text: by `prompt_name`, else by `input_type`, else the model's default."""
    name, kind = body.get("prompt_name"), body.get("input_type")
    for value, field in ((name, "prompt_name"), (kind, "input_type")):
        if value is not None and not isinstance(value, str):
            raise invalid(f'"{field}" has to be a text.', param=field)
    found = model.prompts.find(name, kind)
    if found is None:
        known = ", ".join(model.prompts.by_name) or "none"
        raise invalid(f'The model has no prompt "{name}". It has: {known}.', param="prompt_name")
    return found


async def _items(model: TextModel, given: object, prompt: str) -> Sequence[TextItem]:
    entries = _entries(given)
    if len(entries) > MAX_INPUTS:
        raise invalid(f'"input" has {len(entries)} entries; at most {MAX_INPUTS} fit in one request.', param="input")
    if all(isinstance(value, str) for value in entries):
        return await _tokenized(model, entries, prompt)
    if all(isinstance(value, list) and value and all(type(one) is int for one in value) for value in entries):
        return [model.accept(value) for value in entries]
    raise invalid('"input" mixes kinds: send a text, a list of texts, token ids, or lists of token ids.', param="input")


def _entries(given: object) -> list[Any]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise invalid('"input" has to be a text, a list of texts, or token ids.', param="input")
    return [given] if all(type(value) is int for value in given) else given


async def _tokenized(model: TextModel, texts: list[str], prompt: str) -> Sequence[TextItem]:
    empty = next((place for place, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise invalid(f'"input" {empty} is an empty text.', param="input")
    if prompt:
        texts = [prompt + text for text in texts]
    if sum(map(len, texts)) <= INLINE_CHARACTERS:
        return model.tokenize(texts)
    return await asyncio.to_thread(model.tokenize, texts)
