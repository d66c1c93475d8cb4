"""The way to the hub through a proxy, as the variables of every tool name it: a real one, which notes what passes."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from huggingface_hub import close_session

from apps.models.hub import operations
from apps.models.hub.preflight import Asked, look
from apps.models.models import Status
from modelyard.problems import Problem
from tests.hub.conftest import Bring
from tests.hub.server import Hub

NOWHERE = "hub.invalid"  # a name that only the proxy knows


class Proxy(BaseHTTPRequestHandler):
    """Hands plain requests on, those for the unknown name to the hub."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    passed: list[tuple[str, str]]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host, port = parts.hostname or "", parts.port
        self.passed.append((host, self.headers.get("Authorization", "")))
        link = http.client.HTTPConnection(
            "127.0.0.1", self.hub.front.server_port if host == NOWHERE else port, timeout=20
        )
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        link.request(self.command, f"{parts.path}?{parts.query}", headers={**headers, "Connection": "close"})
        answer = link.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()


@pytest.fixture
def passed(hub: Hub, settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Hosts, and what was said to them of who asks, of the requests that went through the proxy."""
    seen: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Proxy,), {"hub": hub, "passed": seen}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    settings.HUB_ENDPOINT = f"http://{NOWHERE}"
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # it was made with the variables of before
    yield seen
    close_session()
    server.shutdown()
    server.server_close()


def test_looks_and_downloads_go_through_the_proxy(hub: Hub, bring: Bring, passed: list[tuple[str, str]]) -> None:
    assert bring().status == Status.READY
    assert {host for host, _ in passed} == {NOWHERE, "localhost"}


def test_a_token_goes_through_the_proxy_to_the_hub_only(
    hub: Hub, bring: Bring, person: User, passed: list[tuple[str, str]]
) -> None:
    good = operations.connect("Anna's", "hf_good", by=person)
    assert bring("acme/private", connection=good).status == Status.READY
    assert {host for host, said in passed if said} == {NOWHERE}


def test_hosts_that_need_no_proxy_are_asked_directly(
    hub: Hub, bring: Bring, passed: list[tuple[str, str]], settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUB_ENDPOINT = hub.address
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    close_session()
    assert bring().status == Status.READY
    assert passed == []


def test_a_proxy_that_is_away_is_told(hub: Hub, passed: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    close_session()
    with pytest.raises(Problem) as told:
        look(Asked("acme/tiny"))
    assert told.value.code == "hub_unreachable"
    assert "PROXY" in told.value.next_step
