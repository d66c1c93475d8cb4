"""Real engines behind the gateway: a chat model on llama.cpp, an embedding model on ONNX, and one that calls tools."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import QuerySet

os.environ["LANGSMITH_TRACING"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from modelyard_llamacpp import LlamaCppRuntime

from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.deployments.models import Deployment, Replica
from apps.deployments.reconciler.engines import engine_secret
from apps.deployments.statuses import Desired, ReplicaState, Status
from apps.deployments.usage.models import UsageRecord
from apps.models import storage
from apps.models.models import Format, Model
from apps.models.models import Status as ModelStatus
from modelyard.runtimes.testing import Engine, describe
from runtimes.onnx import OnnxRuntime
from tests.gateway import upstream
from tests.gateway.conftest import Make, Yard
from tests.runtimes.demo_model import demo_model_folder
from tests.runtimes.smollm2 import smollm2

NAME = "assistant"
CHAT_REPLICA, EMBEDDING_REPLICA = "rep_chatchatchatchat", "rep_embedembedembed1"
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}


@pytest.fixture(scope="session")
def chat_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(
        LlamaCppRuntime(), smollm2(), {"slots": 2, "context_tokens": 1024}, tmp_path_factory.mktemp("c")
    ) as engine:
        engine.context = replace(
            engine.context, secret=engine_secret(Replica(pk=CHAT_REPLICA, launches=1)), served_name=NAME
        )
        yield engine.start().ready()


@pytest.fixture(scope="session")
def embedding_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    model = describe(demo_model_folder(), format="onnx", task="sentence-similarity")
    with Engine(OnnxRuntime(), model, {}, tmp_path_factory.mktemp("e")) as engine:
        engine.context = replace(
            engine.context, secret=engine_secret(Replica(pk=EMBEDDING_REPLICA, launches=1)), served_name=NAME
        )
        yield engine.start().ready()


def rows(yard: Yard) -> QuerySet[UsageRecord]:
    """The calls of a deployment; those of the test before may still be written."""
    return UsageRecord.objects.filter(deployment_id=yard.deployment.pk)


Serve = Callable[[Engine, str, str], Yard]


@pytest.fixture
def serve(transactional_db: None, web: str) -> Serve:
    """Puts a running engine behind the gateway."""

    def one(engine: Engine, runtime: str, replica: str) -> Yard:
        model = Model.objects.create(name="real", status=ModelStatus.READY, format=Format.ONNX,
                                     task=engine.context.model.task)  # fmt: skip
        storage.folder(model.pk).symlink_to(engine.context.model.path)
        deployment = operations.create(model=model, name=NAME, runtime="echo", by=None)
        Deployment.objects.filter(pk=deployment.pk).update(
            runtime=runtime, status=Status.DEPLOYED, desired=Desired.RUNNING, live_version=deployment.target_version
        )
        Replica.objects.create(id=replica, deployment=deployment, version=deployment.target_version, launches=1,
                               state=ReplicaState.READY, port=engine.context.port)  # fmt: skip
        _, key = apikeys.create(deployment=deployment, name="test", by=None)
        return Yard(web, deployment, key)

    return one


@pytest.fixture
def chat(serve: Serve, chat_engine: Engine) -> Yard:
    return serve(chat_engine, "llamacpp", CHAT_REPLICA)


@pytest.fixture
def embeddings(serve: Serve, embedding_engine: Engine) -> Yard:
    return serve(embedding_engine, "onnx", EMBEDDING_REPLICA)


class ToolHandler(upstream.Handler):
    """Calls a tool in the form of vLLM's answers, which a model of 135 million parameters can't be relied on to do."""

    def json(self) -> None:
        asked = json.loads(self.engine.seen[-1].body)
        if not asked.get("stream"):
            message = {"role": "assistant", "content": None, "tool_calls": [{**CALL}]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
            self.answer(
                "200 OK", json.dumps({**self.common("chat.completion"), "choices": [choice], "usage": usage}).encode()
            )
            return
        self.chunked()
        begun = {**CALL, "function": {"name": "weather", "arguments": ""}}
        self.event({"role": "assistant", "content": None, "tool_calls": [begun]})
        for part in ('{"city": ', '"Paris"}'):
            self.event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        self.event({}, "tool_calls")
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
            content = {**self.common("chat.completion.chunk"), "choices": [], "usage": usage}
            self.chunk(b"data: " + json.dumps(content).encode() + b"\n\n")
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        content = {**self.common("chat.completion.chunk"), "choices": [choice]}
        self.chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    @staticmethod
    def common(kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": NAME}


@pytest.fixture
def tools(make: Make) -> Yard:
    yard = make(name=NAME)
    yard.engine.server.RequestHandlerClass = ToolHandler
    return yard
