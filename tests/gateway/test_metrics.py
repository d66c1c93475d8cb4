"""/metrics: counts what was called, of every process; who may read it; engines under canonical names."""

import http.server
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from apps.apikeys.models import ApiKey
from apps.deployments.gateway import addresses
from apps.deployments.models import Deployment, Replica
from apps.deployments.monitoring import engines
from apps.deployments.statuses import ReplicaState
from modelyard import changes
from tests.gateway.conftest import Make, Yard, eventually, start_web

pytestmark = pytest.mark.system
VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} NaN
vllm:generation_tokens_total{engine="1",model_name="m"} 500.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 5.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 8.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 8.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 1.5
vllm:time_to_first_token_seconds_created{engine="0",model_name="m"} 1.7e+09
"""


class Scrape:
    """One answer of /metrics, sums over the labels that a question leaves open."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def get(self, name: str, /, **labels: str) -> float | None:
        found = [
            sample.value
            for sample in self.samples
            if sample.name == f"modelyard_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


def scrape(address: str, **headers: str) -> Scrape:
    answer = httpx.get(f"{address}/metrics", headers=headers, timeout=15)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def of(yard: Yard) -> dict[str, str]:
    return {"deployment": yard.deployment.pk, "name": yard.deployment.name}


def test_counts_match_what_was_called(yard: Yard) -> None:
    for behave in ("usage", "usage", "refused", "crash"):
        yard.post(behave)
    httpx.post(yard.url, headers={"Authorization": "Bearer nonsense"}, timeout=15)
    found = scrape(yard.address)
    assert found.get("gateway_requests_total", **of(yard)) == 4
    assert found.get("gateway_requests_total", **of(yard), status="200") == 2
    assert found.get("gateway_requests_total", **of(yard), status="400") == 1
    assert found.get("gateway_errors_total", **of(yard), code="engine_error") == 1
    assert found.get("gateway_refused_total", code="malformed_api_key") >= 1
    assert found.get("gateway_prompt_tokens_total", **of(yard)) == 20
    assert found.get("gateway_completion_tokens_total", **of(yard)) == 40
    assert found.get("gateway_request_duration_seconds_count", **of(yard)) == 4
    assert found.get("gateway_request_duration_seconds_bucket", **of(yard), le="+Inf") == 4
    assert found.get("gateway_time_to_first_byte_seconds_count", **of(yard)) == 3
    assert 0 < found.get("gateway_time_to_first_byte_seconds_sum", **of(yard)) < 4
    assert found.get("gateway_requests_in_flight", **of(yard)) == 0
    assert found.get("deployment_replicas", **of(yard), state="ready") == 1
    assert found.get("deployment_status", **of(yard), status="deployed") == 1


def test_a_call_under_way_is_in_flight_and_its_connection_busy(yard: Yard) -> None:
    with httpx.stream("POST", yard.url, headers=yard.headers(x_behave="endless"), json={}, timeout=10) as answer:
        parts = answer.iter_raw()  # held: when it goes, so does the connection
        next(parts)
        found = scrape(yard.address)
        assert found.get("gateway_requests_in_flight", **of(yard)) == 1
        assert found.get("gateway_upstream_connections", state="busy") >= 1
        assert found.get("gateway_client_connections") >= 1
    eventually(lambda: scrape(yard.address).get("gateway_requests_total", **of(yard)) == 1)


def test_limits_that_were_hit_are_told_by_name(yard: Yard) -> None:
    key = ApiKey.objects.get(deployment=yard.deployment)
    ApiKey.objects.filter(pk=key.pk).update(tokens_per_day=0)
    Deployment.objects.filter(pk=yard.deployment.pk).update(concurrent_requests=0)
    changes.announce("key", key.pk)
    yard.put()
    time.sleep(0.5)
    assert yard.post().status_code == 429
    ApiKey.objects.filter(pk=key.pk).update(tokens_per_day=None)
    changes.announce("key", key.pk)
    time.sleep(0.5)
    assert [yard.post().status_code for _ in range(2)] == [429, 429]
    found = scrape(yard.address)
    assert found.get("gateway_limit_hits_total", **of(yard), of="key", limit="tokens_per_day") == 1
    assert found.get("gateway_limit_hits_total", **of(yard), of="deployment", limit="concurrent_requests") == 2


def test_the_ledger_and_redis_are_told(yard: Yard) -> None:
    yard.post()
    eventually(lambda: (scrape(yard.address).get("ledger_written_rows_total") or 0) >= 1)
    found = scrape(yard.address)
    eventually(lambda: scrape(yard.address).get("ledger_buffer_rows") == 0)
    assert found.get("ledger_buffer_limit_rows") >= 100_000
    assert found.get("ledger_dropped_rows_total") == found.get("redis_away") == found.get("redis_away_seconds") == 0
    assert found.get("ledger_lost_rows_total", reason="killed") is not None
    assert found.get("redis_away_limit_seconds") == 300
    assert found.get("database_up") == 1
    assert found.get("process_resident_memory_bytes", process="0") > 10_000_000


def test_one_scrape_covers_every_process_also_one_that_listens_no_more(make: Make, web: str) -> None:
    process, address = start_web()
    try:
        yard = make()
        with httpx.stream(
            "POST", f"{address}/v1/chat/completions", headers=yard.headers(x_behave="endless"), json={}, timeout=10
        ) as answer:
            parts = answer.iter_raw()  # held: when it goes, so does the connection
            next(parts)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: not answers(address))
            yard.post()
            # What another process counts is written once a second.
            eventually(lambda: scrape(web).get("gateway_requests_in_flight", **of(yard)) == 1)
            assert scrape(web).get("gateway_requests_total", **of(yard)) == 1
        process.wait(20)
    finally:
        process.kill()
    found = scrape(web)
    places = {s.labels["process"] for s in found.samples if s.name == "modelyard_gateway_requests_total"}
    assert len(places) >= 2
    assert found.get("gateway_requests_total", **of(yard)) == 2
    assert found.get("gateway_requests_in_flight", **of(yard)) == 0


def answers(address: str) -> bool:
    try:
        httpx.get(f"{address}/healthz", timeout=2)
    except httpx.TransportError:
        return False
    return True


def test_a_deleted_deployment_leaves_no_series(yard: Yard) -> None:
    yard.post()
    Deployment.objects.filter(pk=yard.deployment.pk).delete()
    eventually(lambda: yard.deployment.pk not in httpx.get(f"{yard.address}/metrics", timeout=15).text)


# --- form ---------------------------------------------------------------------------------------------------------


def test_openmetrics_is_told_to_who_asks_for_it(yard: Yard) -> None:
    yard.post()
    headers = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    answer = httpx.get(f"{yard.address}/metrics", headers=headers, timeout=15)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert list(openmetrics.text_string_to_metric_families(answer.text))
    plain = httpx.get(f"{yard.address}/metrics", timeout=15)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    odd = httpx.get(f"{yard.address}/metrics", headers={"accept": "application/openmetrics-text;version=x"}, timeout=15)
    assert odd.status_code == 200


def test_names_are_as_promtool_wants_them(yard: Yard) -> None:
    yard.post()
    for family in scrape(yard.address).families:
        assert family.name.startswith("modelyard_"), family.name
        assert family.documentation.endswith("."), family.name
        assert family.name == family.name.lower()
        assert not family.name.endswith(("_ms", "_milliseconds", "_kb", "_count", "_sum", "_bucket", "_info_total"))
        totals = [sample.name.endswith("_total") for sample in family.samples]
        assert all(totals) if family.type == "counter" else not any(totals), family.name
        assert all("key" not in sample.labels for sample in family.samples)


def test_without_its_database_it_still_tells_what_it_counted(tmp_path: Path) -> None:
    process, address = start_web(MODELYARD_DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")
    try:
        found = scrape(address)
        assert found.get("database_up") == 0
        assert found.get("gateway_refused_total", code="missing_api_key") >= 1
        assert found.get("deployments") is None
    finally:
        process.kill()
        process.wait()


def test_the_reference_has_every_metric_and_no_other(web: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference/metrics.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `modelyard_"))
    documented = set(re.findall(r"`(modelyard_[a-z_]+)`", rows))
    told = {family.name + ("_total" if family.type == "counter" else "") for family in scrape(web).families}
    assert documented == told


def test_only_reading_is_offered(web: str) -> None:
    assert httpx.post(f"{web}/metrics", timeout=15).status_code == 405
    head = httpx.head(f"{web}/metrics", timeout=15)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


# --- access -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-proto", "via"])
def test_what_came_through_a_proxy_is_not_from_this_host(web: str, header: str) -> None:
    answer = httpx.get(f"{web}/metrics", headers={header: "127.0.0.1"}, timeout=15)
    assert answer.status_code == 403
    assert "MODELYARD_METRICS_TOKEN" in answer.text


@pytest.fixture
def guarded_web(transactional_db: None) -> Iterator[str]:
    process, address = start_web(MODELYARD_METRICS_TOKEN="a-token-of-the-tests", MODELYARD_ALLOWED_HOSTS="elsewhere")
    yield address
    process.terminate()
    process.wait(20)


def test_with_a_token_it_is_needed_from_everywhere(guarded_web: str) -> None:
    for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "a-token-of-the-tests"}):
        refused = httpx.get(f"{guarded_web}/metrics", headers=given, timeout=15)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "MODELYARD_METRICS_TOKEN" in refused.text
    token = {"authorization": "Bearer a-token-of-the-tests"}
    assert scrape(guarded_web, **token).get("build_info") == 1
    assert httpx.get(f"{guarded_web}/metrics", headers={**token, "x-forwarded-for": "203.0.113.9"}).status_code == 200


NOBODY: frozenset[str] = frozenset()
PROXY = frozenset({"127.0.0.1", "::1", ""})


@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "expected"),
    [
        ("127.0.0.1", [], NOBODY, True),
        ("::ffff:127.0.0.1", [], NOBODY, True),
        ("10.0.0.5", [], NOBODY, False),
        ("10.0.0.5", [(b"x-forwarded-for", b"127.0.0.1")], PROXY, False),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1")], NOBODY, False),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1")], PROXY, True),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1, 203.0.113.9")], PROXY, False),
        ("127.0.0.1", [(b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-for", b"203.0.113.9")], PROXY, False),
        ("127.0.0.1", [(b"x-forwarded-proto", b"https")], PROXY, False),
        ("203.0.113.9", [(b"x-forwarded-for", b"203.0.113.9")], PROXY, False),
    ],
)
def test_who_counts_as_local(peer: str, headers: Any, trusted: frozenset[str], expected: bool) -> None:
    assert addresses.local(peer, headers, trusted) is expected


# --- engines ------------------------------------------------------------------------------------------------------


class Told(http.server.BaseHTTPRequestHandler):
    """An engine that tells its metrics to who has its secret; without a text it never answers."""

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.text is None:
            self.server.go_on.wait(30)
            return
        known = self.path == "/metrics" and self.headers.get("authorization", "").startswith("Bearer ")
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(self.server.text.encode() if known else b"")

    def log_message(self, *_: Any) -> None:
        pass


def stand_in(yard: Yard, text: str | None) -> Any:
    """A replica more, whose engine tells this."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
    server.text, server.asked, server.go_on = text, 0, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.replica = Replica.objects.create(
        deployment=yard.deployment, version=yard.deployment.live_version, state=ReplicaState.READY,
        port=server.server_address[1], launches=1,
    )  # fmt: skip
    return server


@pytest.fixture
def measured(make: Make) -> Iterator[tuple[Yard, Any, Any]]:
    """A deployment on a runtime that says what its metrics are called; one of its engines hangs."""
    yard = make(engines=0)
    Deployment.objects.filter(pk=yard.deployment.pk).update(runtime="vllm")
    good, hanging = stand_in(yard, VLLM), stand_in(yard, None)
    yield yard, good, hanging
    hanging.go_on.set()
    for server in (good, hanging):
        server.shutdown()
        server.server_close()


def test_engines_are_told_under_canonical_names_and_one_that_hangs_holds_nothing_up(
    measured: tuple[Yard, Any, Any],
) -> None:
    yard, good, hanging = measured
    labels = {**of(yard), "runtime": "vllm", "replica": good.replica.pk}
    eventually(lambda: scrape(yard.address).get("engine_up", **labels) == 1)  # others' were read a moment ago
    time.sleep(engines.FRESH + 0.1)
    began = time.monotonic()
    found = scrape(yard.address)
    assert time.monotonic() - began < 2.5
    assert found.get("engine_up", replica=hanging.replica.pk) == 0
    assert found.get("engine_requests_running", **labels) == 7
    assert found.get("engine_requests_waiting", **labels) == 2
    assert found.get("engine_kv_cache_usage_ratio", **labels) == 0.5
    assert found.get("engine_prompt_tokens_total", **labels) == 1000
    assert found.get("engine_generation_tokens_total", **labels) == 500
    assert found.get("engine_time_to_first_token_seconds_bucket", **labels, le="0.1") == 5
    assert found.get("engine_time_to_first_token_seconds_count", **labels) == 8
    assert found.get("engine_time_to_first_token_seconds_sum", **labels) == 1.5


def test_engines_are_not_asked_at_every_scrape(measured: tuple[Yard, Any, Any]) -> None:
    yard, good, _ = measured
    eventually(lambda: scrape(yard.address).get("engine_up", replica=good.replica.pk) == 1)
    asked, began = good.asked, time.monotonic()
    for _ in range(5):
        scrape(yard.address)
    assert good.asked - asked <= (time.monotonic() - began) // engines.FRESH + 1


def test_histograms_of_tokens_count_as_their_sum_and_other_texts_are_refused() -> None:
    names = {"tgi_request_generated_tokens": "tokens", "tgi_queue_size": "queue"}
    told = engines.parse(
        'tgi_request_generated_tokens_bucket{le="10"} 3\ntgi_request_generated_tokens_sum 42\ntgi_queue_size 1\n', names
    )
    assert told.values == {"tokens": 42, "queue": 1}
    with pytest.raises(ValueError, match="."):
        engines.parse("tgi_queue_size {{{ nonsense\n", names)
    assert engines.parse("<html>no metrics</html>", names).values == {}
