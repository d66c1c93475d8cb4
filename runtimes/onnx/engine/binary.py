"""The protocol's binary tensor extension: tensors as raw bytes behind the JSON of a request or a response."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from .declared import Declared
from .refusals import Reply, invalid
from .tensors import DTYPES, Array, write_tensor

HEADER = b"inference-header-content-length"
NAME = "binary_tensor_data"
SIZE, WANTED, ALL = "binary_data_size", "binary_data", "binary_data_output"
LENGTH_BYTES = 4  # before each element of BYTES


def split(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, memoryview]:
    """The JSON of a request, and what stands behind it."""
    declared = headers.get(HEADER)
    if declared is None:
        return body, memoryview(b"")
    if not declared.isdigit() or int(declared) > len(body):
        raise invalid(f"Inference-Header-Content-Length has to be the JSON's length, {len(body)} at most.")
    return body[: int(declared)], memoryview(body)[int(declared) :]


def take(inputs: object, data: memoryview) -> dict[str, memoryview]:
    """The bytes of each input that is sent so, in the order of the inputs."""
    found: dict[str, memoryview] = {}
    place = 0
    for entry in inputs if isinstance(inputs, list) else []:
        size = _size(entry)
        if size is None:
            continue
        found[str(entry.get("name"))] = data[place : place + size]
        place += size
    if place != len(data):
        raise invalid(f"The inputs declare {place} bytes of binary data, and {len(data)} came.")
    return found


def _size(entry: object) -> int | None:
    parameters = entry.get("parameters") if isinstance(entry, dict) else None
    size = parameters.get(SIZE) if isinstance(parameters, dict) else None
    if size is not None and not (type(size) is int and size >= 0):
        raise invalid(f'"{SIZE}" has to be a whole number.')
    return size


def read(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> Array:
    """One tensor of raw little-endian values."""
    count = int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return _strings(name, count, raw).reshape(shape)
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if len(raw) != count * dtype.itemsize:
        raise invalid(f'Input "{name}": shape {list(shape)} of {datatype} takes {count * dtype.itemsize} bytes, '
                      f"got {len(raw)}.")  # fmt: skip
    if datatype == "BOOL" and any(byte > 1 for byte in raw):
        raise invalid(f'Input "{name}": datatype BOOL takes bytes of 0 and 1.')
    return np.frombuffer(raw, dtype).reshape(shape)


def _strings(name: str, count: int, raw: memoryview) -> Array:
    values: list[str] = []
    place = 0
    while place < len(raw) and len(values) <= count:
        length = int.from_bytes(raw[place : place + LENGTH_BYTES], "little")
        place += LENGTH_BYTES + length
        if place > len(raw):
            break
        try:
            values.append(str(raw[place - length : place], "utf-8"))
        except UnicodeDecodeError as error:
            raise invalid(f'Input "{name}": element {len(values)} is not UTF-8, which this model takes.') from error
    if place != len(raw) or len(values) != count:
        raise invalid(f'Input "{name}": expected {count} elements, each with its length in 4 bytes before it.')
    return np.array(values, dtype=np.object_)


def wanted(body: Mapping[str, Any]) -> frozenset[str] | None:
    """Names of the outputs to send as bytes; None for all of them."""
    every = bool((body.get("parameters") or {}).get(ALL, False))
    chosen = []
    for entry in body.get("outputs") or []:
        parameters = entry.get("parameters") if isinstance(entry, dict) else None
        if (parameters or {}).get(WANTED, every):
            chosen.append(str(entry.get("name")))
    return None if every and not body.get("outputs") else frozenset(chosen)


def reply(answer: dict[str, Any], outputs: Sequence[tuple[Declared, Array]], binary: frozenset[str] | None) -> Reply:
    """The response, with the tensors that were wanted so behind its JSON."""
    told, raw = [], []
    for declared, array in outputs:
        if binary is not None and declared.name not in binary:
            told.append(write_tensor(declared, array))
            continue
        data = _raw(declared, array)
        raw.append(data)
        about = {"name": declared.name, "datatype": declared.datatype, "shape": list(array.shape)}
        told.append(about | {"parameters": {SIZE: len(data)}})
    head = orjson.dumps(answer | {"outputs": told}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return Reply(head)
    length = [(b"inference-header-content-length", str(len(head)).encode())]
    return Reply(b"".join([head, *raw]), content_type=b"application/octet-stream", headers=length)


def _raw(declared: Declared, array: Array) -> bytes:
    if declared.datatype == "BYTES":
        encoded = [str(value).encode() for value in array.reshape(-1)]
        return b"".join(len(value).to_bytes(LENGTH_BYTES, "little") + value for value in encoded)
    return np.ascontiguousarray(array, np.dtype(DTYPES[declared.datatype]).newbyteorder("<")).tobytes()
