"""Requests that wait, run together, are dropped or refused, and the end of an engine."""

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.runtimes import Failure
from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import RUNTIME, running

LONG = 20_000
"""Turns of the busy graph: about a second."""


def times(count):
    return {"name": "times", "datatype": "INT64", "shape": [], "data": [count]}


def rows(*indices):
    return {"name": "row", "datatype": "INT64", "shape": [len(indices)], "data": list(indices)}


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """One worker, a queue of two, and a graph that takes as long as it is told."""
    place = tmp_path_factory.mktemp("busy")
    with running(graphs.busy(place / "model"), place / "work", workers=1, max_queue=2) as engine:
        yield engine


def wait_until(fact):
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def request_bytes(engine, count):
    body = b'{"inputs": [{"name": "times", "datatype": "INT64", "shape": [], "data": [%d]}]}' % count
    head = "POST /v2/models/demo/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n"
    return head.format(engine.context.secret, len(body)).encode() + body


def hold(engine, count=LONG):
    """Sends a long request and leaves its answer unread."""
    connection = socket.create_connection((engine.context.host, engine.context.port))
    connection.sendall(request_bytes(engine, count))
    return connection


def test_full_queue_answers_429_and_says_when_to_retry(busy):
    held = [hold(busy)]
    wait_until(lambda: busy.metric("modelyard_onnx_running") == 1)
    held += [hold(busy), hold(busy)]
    wait_until(lambda: busy.metric("modelyard_onnx_queue_depth") == 2)
    response = busy.infer(times(1))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert "2 requests are waiting" in response.json()["error"]
    with pytest.raises(Failure) as caught:
        RUNTIME.probe(busy.context, 10)
    assert caught.value.code == "busy"
    for connection in held:
        connection.close()
    wait_until(lambda: busy.infer(times(1)).status_code == 200)


def test_request_of_a_caller_that_left_is_dropped_before_it_runs(busy):
    wait_until(lambda: busy.metric("modelyard_onnx_running") == 0)
    runs = busy.metric("modelyard_onnx_inference_seconds_count")
    first = hold(busy)
    wait_until(lambda: busy.metric("modelyard_onnx_running") == 1)
    second = hold(busy)
    wait_until(lambda: busy.metric("modelyard_onnx_queue_depth") == 1)
    second.close()
    wait_until(lambda: busy.metric("modelyard_onnx_queue_depth") == 0)
    assert first.recv(15) == b"HTTP/1.1 200 OK"
    first.close()
    assert busy.metric("modelyard_onnx_inference_seconds_count") == runs + 1


def test_bad_item_fails_alone_among_those_it_ran_with(lookup):
    wanted = [number % 4 if number % 5 else 9 for number in range(40)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda row: lookup.infer(rows(row)), wanted))
    for row, answer in zip(wanted, answers, strict=True):
        if row == 9:
            assert answer.status_code == 400
        else:
            assert answer.json()["outputs"][0]["data"] == [row * 2, row * 2 + 1]


def test_requests_of_different_sizes_get_their_own_rows_back(pair):
    def ask(count):
        data = [float(number + count) for number in range(count * 3)]
        x = {"name": "x", "datatype": "FP32", "shape": [count, 3], "data": data}
        double, negative = pair.infer(x).json()["outputs"]
        return double["data"] == [2 * one for one in data] and negative["data"] == [-one for one in data]

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, [1, 2, 5, 1, 3, 1, 9, 1] * 12))


def test_waiting_requests_run_together(tmp_path):
    options = {"workers": 1, "max_batch_size": 8, "max_batch_delay_ms": 200}
    with running(graphs.lookup(tmp_path / "model"), tmp_path / "work", **options) as engine:
        before = engine.metric("modelyard_onnx_batch_size_count")
        with ThreadPoolExecutor(8) as pool:
            assert all(answer.status_code == 200 for answer in pool.map(lambda _: engine.infer(rows(1)), range(8)))
        assert engine.metric("modelyard_onnx_batch_size_count") - before < 8


def test_rows_that_depend_on_one_another_never_share_a_run(tmp_path):
    options = {"workers": 1, "max_batch_size": 8, "max_batch_delay_ms": 50}
    with running(graphs.softmax_over_rows(tmp_path / "model"), tmp_path / "work", **options) as engine:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [3, 4]}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: engine.infer(x).json()["outputs"][0]["data"], range(16)))
    assert answers == [[1.0, 1.0]] * 16


def test_sigterm_finishes_what_was_accepted_and_exits_with_zero(tmp_path):
    with running(graphs.busy(tmp_path / "model"), tmp_path / "work", workers=1) as engine:
        held = [hold(engine, LONG // 2), hold(engine, LONG // 2)]
        wait_until(lambda: engine.metric("modelyard_onnx_queue_depth") == 1)
        engine.process.send_signal(signal.SIGTERM)
        assert [connection.recv(15) for connection in held] == [b"HTTP/1.1 200 OK"] * 2
        assert engine.process.wait(30) == 0
        assert engine.lines()[-1] == "modelyard-onnx: stopped"


def test_engine_stops_with_zero_while_an_abandoned_inference_runs(tmp_path):
    with running(graphs.busy(tmp_path / "model"), tmp_path / "work", workers=1) as engine:
        left = hold(engine, LONG * 10)
        wait_until(lambda: engine.metric("modelyard_onnx_running") == 1)
        left.close()
        wait_until(lambda: engine.metric("modelyard_onnx_abandoned_total") == 1)
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(30) == 0


def test_stopping_engine_refuses_new_work(tmp_path):
    with running(graphs.busy(tmp_path / "model"), tmp_path / "work", workers=1) as engine:
        open_connection = hold(engine)
        wait_until(lambda: engine.metric("modelyard_onnx_running") == 1)
        engine.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any("stopping" in line for line in engine.lines()))
        open_connection.sendall(request_bytes(engine, 1))
        answer = b""
        while piece := open_connection.recv(65536):
            answer += piece
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert engine.process.wait(30) == 0


def test_metrics_count_requests_errors_and_batches(lookup):
    errors = lookup.metric("modelyard_onnx_errors_total")
    assert lookup.infer(rows(9)).status_code == 400
    assert lookup.infer(rows(1)).status_code == 200
    text = lookup.client.get("/metrics").text
    assert lookup.metric("modelyard_onnx_errors_total") == errors + 1
    assert 'modelyard_onnx_requests_total{endpoint="/v2/models/infer",status="200"}' in text
    assert 'modelyard_onnx_batch_size_bucket{le="+Inf"}' in text


def test_many_long_lists_and_single_texts_all_get_answers(embedder):
    lists = [[f"item {number} of list {place}" for number in range(40)] for place in range(4)]
    singles = [f"single {number}" for number in range(24)]
    done = []
    threads = [
        threading.Thread(target=lambda given=given: done.append(embedder.embed(given))) for given in lists + singles
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in done] == [200] * 28
