"""Tensors between the Open Inference Protocol's JSON and numpy, and every way in which they can be wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .declared import Declared
from .refusals import invalid

Array = NDArray[Any]

DTYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


def read_tensors(
    given: object, declared: Sequence[Declared], binary: Mapping[str, memoryview] | None = None
) -> dict[str, Array]:
    """The request's `inputs` as arrays that fit what the graph declares; those in `binary` came as bytes."""
    if not isinstance(given, list) or not given:
        raise invalid('"inputs" has to be a list of tensors.')
    known = {tensor.name: tensor for tensor in declared}
    arrays: dict[str, Array] = {}
    for entry in given:
        name = _name(entry, known)
        if name in arrays:
            raise invalid(f'Input "{name}" is given twice.')
        arrays[name] = _read(entry, known[name], (binary or {}).get(name))
    missing = [name for name in known if name not in arrays]
    if missing:
        raise invalid(f"Missing input: {_listed(missing)}. The model takes {_listed(known)}.")
    return arrays


def _name(entry: object, known: Mapping[str, Declared]) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise invalid('Every input has to be an object with a "name".')
    name: str = entry["name"]
    if name not in known:
        raise invalid(f'The model has no input "{name}". It takes {_listed(known)}.')
    return name


def _read(entry: Mapping[str, Any], declared: Declared, raw: memoryview | None) -> Array:
    name = declared.name
    if entry.get("datatype") != declared.datatype:
        raise invalid(f'Input "{name}": expected datatype {declared.datatype}, got {entry.get("datatype")!r}.')
    shape = _shape(name, entry.get("shape"))
    check_shape(declared, shape)
    if raw is not None:
        from .binary import read

        return read(name, declared.datatype, shape, raw)
    if "data" not in entry:
        raise invalid(f'Input "{name}" has no "data", and no "binary_data_size" either.')
    array = _array(name, declared.datatype, entry["data"])
    if array.size != _count(shape):
        raise invalid(f'Input "{name}": shape {shape} needs {_count(shape)} values, got {array.size}.')
    return array.reshape(shape)


def _shape(name: str, shape: object) -> list[int]:
    whole = isinstance(shape, list) and all(type(size) is int and 0 <= size < 1 << 31 for size in shape)
    if not whole or len(shape) > 32:  # type: ignore[arg-type]  # `whole` implies a list
        raise invalid(f'Input "{name}": "shape" has to be a list of whole numbers.')
    return shape  # type: ignore[return-value]


def check_shape(declared: Declared, shape: Sequence[int]) -> None:
    """Refuses a shape that the graph doesn't take."""
    if declared.shape is None:
        return
    fits = len(shape) == len(declared.shape) and all(
        want in (-1, size) for want, size in zip(declared.shape, shape, strict=True)
    )
    if not fits:
        wanted = list(declared.shape)
        raise invalid(f'Input "{declared.name}": expected shape {wanted} (-1 is any size), got {list(shape)}.')


def _array(name: str, datatype: str, data: object) -> Array:
    if not isinstance(data, list):
        raise invalid(f'Input "{name}": "data" has to be a list.')
    if datatype == "BYTES":
        return _strings(name, data)
    try:
        raw = np.array(data) if data else np.empty(0, DTYPES[datatype])
    except (ValueError, OverflowError) as error:
        raise invalid(f'Input "{name}": "data" is ragged, nested too deep or has a number too large.') from error
    if raw.size == 0:
        return raw.astype(DTYPES[datatype])
    return _cast(name, datatype, raw, data)


def _strings(name: str, data: list[Any]) -> Array:
    try:
        array = np.array(data, dtype=np.object_)
    except ValueError as error:
        raise invalid(f'Input "{name}": "data" is ragged or nested too deep.') from error
    if not all(isinstance(value, str) for value in array.flat):
        raise invalid(f'Input "{name}": datatype BYTES takes strings.')
    return array


def _cast(name: str, datatype: str, raw: Array, data: list[Any]) -> Array:
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind == "b":
        return _booleans(name, raw)
    if dtype.kind == "f":
        return _floats(name, datatype, raw)
    whole = _whole(name, datatype, raw, data)
    limits = np.iinfo(dtype)
    if whole.min() < limits.min or whole.max() > limits.max:
        raise invalid(f'Input "{name}": datatype {datatype} takes {limits.min} to {limits.max}.')
    return whole.astype(dtype)


def _booleans(name: str, raw: Array) -> Array:
    if raw.dtype.kind == "b" or (raw.dtype.kind in "iu" and not np.any((raw != 0) & (raw != 1))):
        return raw.astype(np.bool_)
    raise invalid(f'Input "{name}": datatype BOOL takes true and false.')


def _floats(name: str, datatype: str, raw: Array) -> Array:
    if raw.dtype.kind not in "iuf":
        raise invalid(f'Input "{name}": datatype {datatype} takes numbers.')
    with np.errstate(over="raise"):
        try:
            return raw.astype(DTYPES[datatype])
        except FloatingPointError as error:
            raise invalid(f'Input "{name}": a number is too large for datatype {datatype}.') from error


def _whole(name: str, datatype: str, raw: Array, data: list[Any]) -> Array:
    if raw.dtype.kind in "iu":
        return raw
    # numpy turns whole numbers beyond 2**63 into floats where they stand beside smaller ones
    exact = np.array(data, dtype=np.object_) if raw.dtype.kind in "fO" else raw
    if exact.dtype.kind == "O" and all(type(value) is int for value in exact.flat):
        return exact
    raise invalid(f'Input "{name}": datatype {datatype} takes whole numbers.')


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def write_tensor(declared: Declared, array: Array) -> dict[str, Any]:
    """One output of the response; its data is flat, as the protocol prefers."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return {
        "name": declared.name,
        "datatype": declared.datatype,
        "shape": list(array.shape),
        "data": _plain(flat),
    }


def _plain(flat: Array) -> Any:
    # orjson writes the other kinds of numpy arrays itself; only strings need Python objects
    return [str(value) for value in flat] if flat.dtype.kind in "OUS" else flat
