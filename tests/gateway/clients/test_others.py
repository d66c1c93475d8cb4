"""LangChain's and Hugging Face's clients, unchanged, against real engines."""

import huggingface_hub
import pydantic
import pytest
from huggingface_hub.errors import HfHubHTTPError
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.gateway.clients.conftest import NAME, rows
from tests.gateway.conftest import Yard, eventually

pytestmark = pytest.mark.system
HELLO = "What is the capital of France?"


class City(pydantic.BaseModel):
    """What is asked for."""

    city: str = pydantic.Field(max_length=12)


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"It rains in {city}."


def chain(yard: Yard, **more: object) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{yard.address}/v1", api_key=yard.key, model=NAME, **more)


def hub(yard: Yard) -> huggingface_hub.InferenceClient:
    return huggingface_hub.InferenceClient(base_url=f"{yard.address}/d/{yard.deployment.pk}/v1", api_key=yard.key)


def test_langchain_chats_and_counts(chat: Yard) -> None:
    answer = chain(chat, max_completion_tokens=10).invoke(HELLO)
    assert answer.text
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] <= 10


def test_langchain_streams(chat: Yard) -> None:
    parts = list(chain(chat, max_completion_tokens=10).stream(HELLO))
    assert len(parts) > 3
    whole = sum(parts[1:], parts[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.text
    eventually(lambda: rows(chat).filter(streamed=True, estimated=False, completion_tokens__gt=0).exists())


def test_langchain_gets_a_structure(chat: Yard) -> None:
    found = chain(chat, max_completion_tokens=60).with_structured_output(City, method="json_schema").invoke(HELLO)
    assert isinstance(found, City)


@pytest.mark.parametrize("streaming", [False, True])
def test_langchain_calls_tools(tools: Yard, *, streaming: bool) -> None:
    answer = chain(tools, streaming=streaming).bind_tools([weather]).invoke(HELLO)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})


def test_langchain_embeds(embeddings: Yard) -> None:
    found = OpenAIEmbeddings(
        base_url=f"{embeddings.address}/v1", api_key=embeddings.key, model=NAME, check_embedding_ctx_length=False
    ).embed_documents(["one", "two"])
    assert [len(vector) for vector in found] == [384, 384]


def test_hugging_face_chats(chat: Yard) -> None:
    answer = hub(chat).chat_completion([{"role": "user", "content": HELLO}], model=NAME, max_tokens=10)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 10


def test_hugging_face_streams(chat: Yard) -> None:
    client = hub(chat)
    asked = client.chat_completion([{"role": "user", "content": HELLO}], model=NAME, max_tokens=10, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in asked)


def test_hugging_face_calls_tools(tools: Yard) -> None:
    schema = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    answer = hub(tools).chat_completion([{"role": "user", "content": HELLO}], model=NAME, tools=[schema])
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function.name == "weather"


def test_hugging_face_is_told_what_is_wrong(chat: Yard) -> None:
    chat.key = chat.key[:-1]
    with pytest.raises(HfHubHTTPError) as caught:
        hub(chat).chat_completion([{"role": "user", "content": HELLO}], model=NAME)
    assert caught.value.response.status_code == 401
    assert "malformed_api_key" in caught.value.response.text
