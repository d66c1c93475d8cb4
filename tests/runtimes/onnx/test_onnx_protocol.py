"""The Open Inference Protocol over REST."""

import numpy as np
import onnxruntime as ort
import pytest

from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import running

SAMPLES = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-0.5, 65504.0],
    "FP32": [0.1, -3.4e38],
    "FP64": [0.1, 1.7e308],
    "BYTES": ["", "naïve 東京 🙂"],
}
WRONG = {
    "BOOL": [2, "yes", 0.5],
    "UINT8": [-1, 256, 1.5, "1", None],
    "UINT64": [-1, 2**64, 0.5],
    "INT8": [128, "1", 1.5],
    "INT64": [2**63, 1.0, "1"],
    "FP16": [1e6, "1"],
    "FP32": [1e300, "1", None],
    "BYTES": [1, None],
}


def given(kind, data, shape=None):
    return {"name": f"in_{kind}", "datatype": kind, "shape": shape or [len(data)], "data": data}


def all_inputs(**replaced):
    return [replaced.get(kind, given(kind, data)) for kind, data in SAMPLES.items()]


def test_every_datatype_comes_back_as_it_was_sent(typed):
    outputs = typed.infer(*all_inputs()).json()["outputs"]
    assert {entry["datatype"] for entry in outputs} == set(SAMPLES)
    for entry in outputs:
        assert entry["shape"] == [2]
        assert entry["data"] == pytest.approx(SAMPLES[entry["datatype"]]) or entry["datatype"] == "BYTES"
        assert entry["datatype"] != "BYTES" or entry["data"] == SAMPLES["BYTES"]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_value_that_does_not_fit_names_its_input_and_datatype(typed, kind, value):
    response = typed.infer(*all_inputs(**{kind: given(kind, [SAMPLES[kind][0], value])}))
    assert response.status_code == 400
    error = response.json()["error"]
    assert f'"in_{kind}"' in error
    assert kind in error or "number too large" in error


def test_nested_and_flat_data_are_the_same(pair):
    flat = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
    nested = {**flat, "data": [[1, 2, 3], [4, 5, 6]]}
    answers = [pair.infer(one).json()["outputs"] for one in (flat, nested)]
    assert answers[0] == answers[1]
    assert answers[0][0] == {"name": "double", "datatype": "FP32", "shape": [2, 3], "data": [2, 4, 6, 8, 10, 12]}


def test_large_request_is_answered_like_a_small_one(pair):
    data = [float(number % 1000) for number in range(90_000)]
    answer = pair.infer({"name": "x", "datatype": "FP32", "shape": [30_000, 3], "data": data}).json()
    assert answer["outputs"][0]["data"] == [2 * one for one in data]


def test_only_wanted_outputs_are_returned_with_the_requests_id(pair):
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    answer = pair.infer(x, id="a-1", outputs=[{"name": "negative"}], parameters={"any": 1}).json()
    assert answer == {
        "model_name": "demo",
        "model_version": "1",
        "id": "a-1",
        "outputs": [{"name": "negative", "datatype": "FP32", "shape": [1, 3], "data": [-1.0, -2.0, -3.0]}],
    }


X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, '"inputs" has to be a list'),
        ({"inputs": []}, '"inputs" has to be a list'),
        ({"inputs": [1]}, 'object with a "name"'),
        ({"inputs": [{**X, "name": "z"}]}, 'no input "z". It takes "x"'),
        ({"inputs": [X, X]}, "given twice"),
        ({"inputs": [{**X, "datatype": "INT64"}]}, "expected datatype FP32, got 'INT64'"),
        ({"inputs": [{**X, "shape": [1, 4]}]}, "expected shape [-1, 3] (-1 is any size), got [1, 4]"),
        ({"inputs": [{**X, "shape": [3]}]}, "expected shape [-1, 3] (-1 is any size), got [3]"),
        ({"inputs": [{**X, "shape": [2, 3]}]}, "shape [2, 3] needs 6 values, got 3"),
        ({"inputs": [{**X, "shape": [-1, 3]}]}, "list of whole numbers"),
        ({"inputs": [{**X, "shape": "1,3"}]}, "list of whole numbers"),
        ({"inputs": [{**X, "data": [[1, 2], [3]]}]}, "ragged"),
        ({"inputs": [{**X, "data": 5}]}, '"data" has to be a list'),
        ({"inputs": [{key: X[key] for key in ("name", "datatype", "shape")}]}, 'has no "data"'),
        ({"inputs": [X], "outputs": [{"name": "other"}]}, 'no output "other". It gives double, negative'),
        ({"inputs": [X], "outputs": "double"}, '"outputs" has to be a list'),
        ({"inputs": [X], "id": 1}, '"id" has to be a text'),
        ({"inputs": [X], "parameters": []}, '"parameters" has to be an object'),
        ([X], "has to be a JSON object"),
    ],
)
def test_wrong_request_is_told_what_was_expected(pair, body, says):
    response = pair.post("/v2/models/demo/infer", body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert says in response.json()["error"]


def test_nesting_without_end_is_refused(pair):
    body = b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}"
    assert pair.client.post("/v2/models/demo/infer", content=body).status_code == 400
    deep = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": ' + b"[" * 200 + b"]" * 200 + b"}]}"
    assert pair.client.post("/v2/models/demo/infer", content=deep).status_code == 400


def test_missing_input_is_named(typed):
    response = typed.infer(*all_inputs()[:-1])
    assert response.status_code == 400
    assert 'Missing input: "in_BYTES"' in response.json()["error"]


def test_failure_inside_the_graph_shows_no_trace_and_no_path(lookup):
    response = lookup.infer({"name": "row", "datatype": "INT64", "shape": [1], "data": [9]})
    error = response.json()["error"]
    assert response.status_code == 400
    assert error.startswith("The model refused these inputs: indices element out of data bounds, idx=9")
    assert "/" not in error
    assert "Traceback" not in error


def test_metadata_tells_what_the_graph_takes_and_gives(pair):
    answer = pair.client.get("/v2/models/demo").json()
    assert answer["versions"] == ["1"]
    assert answer["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert [entry["name"] for entry in answer["outputs"]] == ["double", "negative"]
    assert pair.client.get("/v2").json()["name"] == "modelyard-onnx"


def test_version_one_is_the_only_version(pair):
    assert pair.client.get("/v2/models/demo/versions/1/ready").json() == {"name": "demo", "ready": True}
    assert pair.post("/v2/models/demo/versions/1/infer", {"inputs": [X]}).status_code == 200
    assert pair.client.get("/v2/models/demo/versions/2").status_code == 404


@pytest.mark.parametrize("path", ["/", "/v2/models/other", "/v2/models/demo2/infer", "/v2/models/demo/load", "/v3"])
def test_unknown_paths_are_not_found(pair, path):
    response = pair.client.get(path)
    assert response.status_code == 404
    assert isinstance(response.json()["error"], str)


def test_wrong_method_says_which_is_right(pair):
    response = pair.client.get("/v2/models/demo/infer")
    assert response.status_code == 405
    assert "takes POST" in response.json()["error"]


def test_model_without_tokenizer_says_that_it_embeds_no_text(pair):
    response = pair.embed("a")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "no_embeddings"


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/demo", "/v1/models", "/metrics", "/nothing"]
)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic x", "Bearer", "Bearer \xff"])
def test_everything_needs_the_secret(pair, path, header):
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    pair.client.headers.pop("authorization")
    try:
        response = pair.client.get(path, headers=headers)
    finally:
        pair.client.headers["authorization"] = f"Bearer {pair.context.secret}"
    assert response.status_code == 401


def test_health_is_told(pair):
    assert pair.client.get("/v2/health/live").json() == {"live": True}
    assert pair.client.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("declared", [True, False])
def test_body_beyond_the_limit_is_refused(pair, declared):
    size = 33 << 20

    def pieces():
        for _ in range(33):
            yield b" " * (1 << 20)

    headers = {"content-length": str(size)} if declared else {}
    response = pair.client.post("/v2/models/demo/infer", content=pieces(), headers=headers)
    assert response.status_code == 413
    assert "larger than" in response.json()["error"]


def test_answers_are_onnxruntimes_own(demo_model, embedder):
    ids = [[101, 4937, 2006, 13523, 102], [101, 2345, 3000, 1010, 102]]
    arrays = {"input_ids": ids, "attention_mask": [[1] * 5] * 2, "token_type_ids": [[0] * 5] * 2}
    inputs = [{"name": name, "datatype": "INT64", "shape": [2, 5], "data": data} for name, data in arrays.items()]
    (found,) = embedder.infer(*inputs).json()["outputs"]
    session = ort.InferenceSession(str(demo_model / "model.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {name: np.array(data, np.int64) for name, data in arrays.items()})
    assert found["shape"] == [2, 5, 384]
    assert np.allclose(np.array(found["data"]).reshape(2, 5, 384), expected, atol=1e-4)


def test_undeclared_shapes_and_scalars_are_served(tmp_path):
    with running(graphs.identity(tmp_path / "any", "FP32", None), tmp_path / "a") as engine:
        answer = engine.infer({"name": "x", "datatype": "FP32", "shape": [1, 1, 2], "data": [1, 2]}).json()
    assert answer["outputs"][0]["shape"] == [1, 1, 2]
    with running(graphs.identity(tmp_path / "scalar", "FP32", []), tmp_path / "b") as engine:
        answer = engine.infer({"name": "x", "datatype": "FP32", "shape": [], "data": [7]}).json()
    assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [], "data": [7.0]}]
