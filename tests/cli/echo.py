"""A deployment of the echo runtime in a running Modelyard, made from outside it by one of its own commands."""

import json
import threading
import time
from pathlib import Path

import httpx

from tests.cli.conftest import run

SCRIPT = """
import json, time
from apps.apikeys import operations as apikeys
from apps.deployments import operations
from apps.models.models import Format, Model, Status
model = Model.objects.create(name="tiny", status=Status.READY, format=Format.ONNX)
deployment = operations.create(model=model, name="hello", runtime="echo", by=None)
operations.deploy(deployment, by=None)
end = time.monotonic() + 40
while deployment.status not in {"deployed", "failed"} and time.monotonic() < end:
    time.sleep(0.1)
    deployment.refresh_from_db()
_, key = apikeys.create(deployment=deployment, name="test", by=None)
print("ECHO", json.dumps([deployment.pk, key, deployment.status]))
"""
STATUS = 'from apps.deployments.models import Deployment; print("STATUS", Deployment.objects.get().status)'


def deploy(data: Path, **where: str) -> tuple[str, str]:
    """The deployment's ID and a key, once it is deployed."""
    said = run("shell", "-v", "0", "-c", SCRIPT, data=data, **where).stdout
    line = next((line for line in said.splitlines() if line.startswith("ECHO ")), None)
    assert line, said
    deployment, key, status = json.loads(line.removeprefix("ECHO "))
    assert status == "deployed", said
    return deployment, key


def status(data: Path) -> str:
    said = run("shell", "-v", "0", "-c", STATUS, data=data).stdout
    return next(line for line in said.splitlines() if line.startswith("STATUS ")).removeprefix("STATUS ")


class Stream(threading.Thread):
    """A streamed answer being read: `words` so far, and `error` if it was cut."""

    def __init__(self, url: str, key: str, words: int) -> None:
        super().__init__(daemon=True)
        self.url, self.key = url, key
        self.text = " ".join(f"w{number}" for number in range(words))
        self.words: list[str] = []
        self.error: Exception | None = None
        self.begun = threading.Event()
        self.start()

    def run(self) -> None:
        body = {"stream": True, "messages": [{"role": "user", "content": self.text}]}
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            with httpx.stream("POST", self.url, json=body, headers=headers, timeout=60) as answer:
                for line in answer.iter_lines():
                    self._take(line)
        except httpx.HTTPError as error:
            self.error = error

    def _take(self, line: str) -> None:
        data = line.removeprefix("data: ")
        if line.startswith("data: {") and (choices := json.loads(data)["choices"]):
            self.words += choices[0]["delta"].get("content", "").split()
            self.begun.set()


def chat(url: str, key: str, limit: float = 40) -> str:
    """One answer, waiting until there is an engine."""
    end = time.monotonic() + limit
    while True:
        body = {"messages": [{"role": "user", "content": "hello again"}]}
        answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=20)
        if answer.status_code == 200:
            return str(answer.json()["choices"][0]["message"]["content"])
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)
