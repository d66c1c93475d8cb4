"""OpenAI's own client, unchanged, against real engines."""

import asyncio
import json
import time

import openai
import pydantic
import pytest

from apps.apikeys.models import ApiKey
from apps.deployments.models import Replica
from modelyard import changes
from tests.gateway.clients.conftest import NAME, rows
from tests.gateway.conftest import Yard, eventually

pytestmark = pytest.mark.system
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class City(pydantic.BaseModel):
    """What is asked for."""

    city: str = pydantic.Field(max_length=12)


def client(yard: Yard, **more: object) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{yard.address}/d/{yard.deployment.pk}/v1", api_key=yard.key, **more)


def test_chat(chat: Yard) -> None:
    for address in (f"{chat.address}/v1", f"{chat.address}/d/{chat.deployment.pk}/v1"):
        answer = openai.OpenAI(base_url=address, api_key=chat.key).chat.completions.create(
            model=NAME, messages=HELLO, max_tokens=12, temperature=0
        )
        assert answer.choices[0].message.content
        assert answer.usage
        assert answer.usage.completion_tokens <= 12
    eventually(lambda: rows(chat).count() == 2)
    assert rows(chat).filter(estimated=False, completion_tokens=answer.usage.completion_tokens).count() == 2


def test_a_stream_comes_as_it_is_made_and_is_counted(chat: Yard) -> None:
    times, text = [], ""
    for part in client(chat).chat.completions.create(model=NAME, messages=HELLO, max_tokens=40, stream=True):
        assert part.usage is None
        assert part.choices
        text += part.choices[0].delta.content or ""
        times.append(time.monotonic())
    assert text
    assert times[-1] - times[0] > 2 * (times[1] - times[0]) > 0  # not all of it at the end
    eventually(rows(chat).exists)
    row = rows(chat).get()
    assert (row.streamed, row.estimated) == (True, False)
    assert 10 < row.completion_tokens <= 40


def test_usage_comes_to_who_asks(chat: Yard) -> None:
    parts = list(client(chat).chat.completions.create(
        model=NAME, messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
    ))  # fmt: skip
    assert parts[-1].usage
    assert parts[-1].usage.completion_tokens == 5


def test_a_structured_answer(chat: Yard) -> None:
    answer = client(chat).chat.completions.parse(model=NAME, messages=HELLO, response_format=City, max_tokens=60)
    assert isinstance(answer.choices[0].message.parsed, City)


def test_a_stream_that_is_left_ends_the_engines_work(chat: Yard) -> None:
    stream = client(chat).chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Count to a thousand."}], max_tokens=900, stream=True
    )
    for _, _part in zip(range(5), stream, strict=False):
        pass
    stream.close()
    eventually(rows(chat).exists)
    row = rows(chat).get()
    assert row.estimated
    assert 5 <= row.completion_tokens < 300
    began = time.monotonic()
    client(chat).chat.completions.create(model=NAME, messages=HELLO, max_tokens=1)
    assert time.monotonic() - began < 20


def test_many_callers_of_the_asynchronous_client(chat: Yard) -> None:
    async def all_of_them() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{chat.address}/v1", api_key=chat.key) as caller:
            asked = (caller.chat.completions.create(model=NAME, messages=HELLO, max_tokens=3) for _ in range(6))
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert all(asyncio.run(all_of_them()))


def test_the_models_are_listed(chat: Yard) -> None:
    assert [model.id for model in client(chat).models.list()] == [NAME]


def test_embeddings_of_many_texts_keep_their_order(embeddings: Yard) -> None:
    texts = ["A cat sits on the mat.", "Interest rates were raised.", "A kitten lies on the rug."]
    caller = client(embeddings)
    answer = caller.embeddings.create(model=NAME, input=texts)
    assert [item.index for item in answer.data] == [0, 1, 2]
    cat, rates, kitten = (item.embedding for item in answer.data)
    assert dot(cat, kitten) > dot(cat, rates) + 0.2
    (alone,) = caller.embeddings.create(model=NAME, input=texts[1]).data
    assert dot(alone.embedding, rates) > 0.99
    eventually(lambda: rows(embeddings).filter(estimated=False, prompt_tokens__gt=3).count() == 2)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_tools_are_called(tools: Yard) -> None:
    answer = client(tools).chat.completions.create(model=NAME, messages=HELLO, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_tools_are_called_in_a_stream(tools: Yard) -> None:
    arguments = ""
    for part in client(tools).chat.completions.create(model=NAME, messages=HELLO, tools=[WEATHER], stream=True):
        for call in part.choices[0].delta.tool_calls or []:
            arguments += (call.function and call.function.arguments) or ""
    assert json.loads(arguments) == {"city": "Paris"}


@pytest.mark.parametrize(("key", "error"), [("myk_no", openai.AuthenticationError), ("", openai.AuthenticationError)])
def test_errors_are_the_clients_own(chat: Yard, key: str, error: type[openai.APIStatusError]) -> None:
    chat.key = key or chat.key[:-1]
    with pytest.raises(error) as caught:
        client(chat).models.list()
    assert caught.value.request_id
    assert "myk_" in caught.value.message


def test_limits_are_told_and_waited_for(tools: Yard) -> None:
    """The client waits as long as it is told, by itself."""
    key = ApiKey.objects.get()
    ApiKey.objects.update(concurrent_requests=1, requests_per_minute=1000)
    changes.announce("key", key.pk)
    time.sleep(0.5)
    caller = client(tools, max_retries=4, default_headers={"x-behave": "stepwise"})
    held = caller.chat.completions.with_streaming_response.create(model=NAME, messages=HELLO, stream=True)
    with held as answer:
        assert int(answer.headers["x-ratelimit-limit-requests"]) == 1000
        assert int(answer.headers["x-ratelimit-remaining-requests"]) < 1000
        with pytest.raises(openai.RateLimitError) as caught:
            client(tools, max_retries=0).chat.completions.create(model=NAME, messages=HELLO)
        assert caught.value.code == "concurrency_limited"
        assert caught.value.response.headers["retry-after"] == "1"
        for _ in range(3):
            tools.engine.step.set()
            time.sleep(0.1)
    assert client(tools, max_retries=4).chat.completions.create(model=NAME, messages=HELLO).choices
    assert Replica.objects.count() == 1
