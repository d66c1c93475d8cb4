"""The binary tensor extension, byte by byte."""

import json
from typing import Any

import numpy as np
import pytest

from tests.runtimes.onnx.engines import Engine
from tests.runtimes.onnx.graphs import TYPES

VALUES: dict[str, np.ndarray[Any, Any]] = {
    "BOOL": np.array([True, False, True]),
    **{
        name: np.array([1, 2, 100], getattr(np, name.lower()))
        for name in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
    },
    "FP16": np.array([0.5, np.nan, -2], np.float16),
    "FP32": np.array([0.1, np.inf, -2], np.float32),
    "FP64": np.array([0.1, -np.inf, 1e300]),
}
STRINGS = ["a", "", "ü€"]


def encoded(values: list[str]) -> bytes:
    return b"".join(len(value.encode()).to_bytes(4, "little") + value.encode() for value in values)


def raw(kind: str) -> bytes:
    return encoded(STRINGS) if kind == "BYTES" else VALUES[kind].tobytes()


def send(engine: Engine, body: dict[str, Any], data: bytes, **headers: str) -> Any:
    head = json.dumps(body).encode()
    given = {"Inference-Header-Content-Length": str(len(head)), **headers}
    return engine.client.post("/v2/models/demo/infer", content=head + data, headers=given)


def declared(kind: str, data: bytes) -> dict[str, Any]:
    return {"name": f"in_{kind}", "datatype": kind, "shape": [3], "parameters": {"binary_data_size": len(data)}}


def received(answer: Any) -> dict[str, bytes]:
    length = int(answer.headers["inference-header-content-length"])
    told, place = json.loads(answer.content[:length]), length
    found = {}
    for output in told["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = answer.content[place : place + size]
        place += size
    assert place == len(answer.content)
    return found


def test_every_datatype_goes_there_and_back(typed: Engine) -> None:
    inputs = [declared(kind, raw(kind)) for kind in TYPES]
    body = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = send(typed, body, b"".join(raw(kind) for kind in TYPES))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    assert received(answer) == {f"out_{kind}": raw(kind) for kind in TYPES}


def test_json_and_bytes_may_be_mixed(pair: Engine) -> None:
    data = np.array([[1, 2, 3]], np.float32).tobytes()
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": len(data)}}]
    names = [output["name"] for output in pair.client.get("/v2/models/demo").json()["outputs"]]
    outputs = [{"name": names[0], "parameters": {"binary_data": True}}, {"name": names[1]}]
    answer = send(pair, {"inputs": inputs, "outputs": outputs}, data)
    length = int(answer.headers["inference-header-content-length"])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert "data" not in first
    assert len(answer.content) - length == first["parameters"]["binary_data_size"]
    assert second["data"]


def test_bytes_in_and_json_out(pair: Engine) -> None:
    data = np.array([[1, 2, 3]], np.float32).tobytes()
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": len(data)}}]
    answer = send(pair, {"inputs": inputs}, data)
    assert "inference-header-content-length" not in answer.headers
    assert answer.json()["outputs"][0]["data"]


WRONG: list[tuple[dict[str, Any], bytes, dict[str, str], str]] = [
    ({"binary_data_size": 8}, bytes(12), {}, "declare 8 bytes"),
    ({"binary_data_size": 12}, bytes(8), {}, "declare 12 bytes"),
    ({"binary_data_size": 8}, bytes(8), {}, "takes 12 bytes, got 8"),
    ({"binary_data_size": -1}, b"", {}, "has to be a whole number"),
    ({"binary_data_size": 12}, bytes(12), {"Inference-Header-Content-Length": "100000"}, "has to be the JSON's length"),
    ({"binary_data_size": 12}, bytes(12), {"Inference-Header-Content-Length": "-1"}, "has to be the JSON's length"),
    ({}, bytes(12), {}, "declare 0 bytes"),
]


@pytest.mark.parametrize(("parameters", "data", "headers", "words"), WRONG)
def test_sizes_that_do_not_fit_are_refused(
    pair: Engine, parameters: dict[str, Any], data: bytes, headers: dict[str, str], words: str
) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": parameters}]
    answer = send(pair, {"inputs": inputs}, data, **headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("BYTES", encoded(["a", "b"]), "expected 3 elements"),
        ("BYTES", encoded(["a", "b", "c"])[:-1], "expected 3 elements"),
        ("BYTES", encoded(["a", "b"]) + b"\x01\x00\x00\x00\xff", "is not UTF-8"),
        ("BOOL", b"\x00\x01\x02", "0 and 1"),
    ],
)
def test_damaged_elements_are_refused(typed: Engine, kind: str, data: bytes, words: str) -> None:
    inputs = [declared(other, raw(other)) for other in TYPES if other != kind]
    body = {"inputs": [declared(kind, data), *inputs]}
    answer = send(typed, body, data + b"".join(raw(other) for other in TYPES if other != kind))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_extension_is_told(typed: Engine) -> None:
    assert typed.client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
