"""What the endpoints share: the model, its queue and its measures."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .batching import Batcher, Item, Job, Work
from .classes import ClassModel
from .infer import TensorModel
from .measures import Measures
from .refusals import Gone, Refusal, Reply, invalid
from .texts import TextModel

type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class Request:
    """One HTTP request with its body read."""

    method: str
    path: str
    body: bytes
    receive: Receive
    headers: Mapping[bytes, bytes]

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        return self.parsed(self.body)

    def parsed(self, body: bytes) -> dict[str, Any]:
        """A part of the body as a JSON object."""
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise invalid(f"The body is not valid JSON: {error}.") from error
        if not isinstance(found, dict):
            raise invalid("The body has to be a JSON object.")
        return found


@dataclass
class Service:
    """One served model."""

    name: str
    tensors: TensorModel
    texts: TextModel | None
    classes: ClassModel | None
    batcher: Batcher
    measures: Measures
    started_at: int
    draining: bool = False

    def require_model(self, name: object) -> None:
        """Refuses a name that isn't served here."""
        if name != self.name:
            raise Refusal(
                404, "model_not_found", f'There is no model "{name}". This one is "{self.name}".', param="model"
            )

    async def run(self, work: Work, items: Sequence[Item], request: Request) -> list[Any]:
        """The results of the items; dropped from the queue if the caller goes away."""
        job = Job(work, items, asyncio.get_running_loop())
        self.batcher.submit(job)
        leaving = asyncio.ensure_future(_departure(request.receive))
        leaving.add_done_callback(lambda left: None if left.cancelled() else self.batcher.cancel(job))
        try:
            return await job.future
        except asyncio.CancelledError as error:
            self.batcher.cancel(job)
            if leaving.done():
                raise Gone from error
            raise
        finally:
            leaving.cancel()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def json_reply(body: object) -> Reply:
    """A JSON response; numpy arrays are written as lists."""
    return Reply(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
