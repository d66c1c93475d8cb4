"""Inputs for hypothesis: honest files with something changed, and files made to a plan that is nearly right."""

import io
import json
import struct
import warnings
import zipfile
from typing import Any

from hypothesis import strategies as st

from fuzz import seeds

NUMBERS = [
    0,
    1,
    7,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
WORDS = [
    b"__class__", b"{{", b"}}", b"{%", b"%}", b"for i in range(10**9)", b"cos\nsystem\n", b"\x80\x04\x95", b"\x93", b"R.", b"PK\x03\x04",
    b"PK\x05\x06", b"../", b"\0", b"\xff\xfe", b"[" * 200, b'{"a":' * 100, b"1" * 5000, b"hf_" + b"a" * 34, b"\\ud800", b"(a+)+",
]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """An honest file with up to six changes: bytes, lengths, pieces gone, doubled, from another file, or words of attacks."""
    honest = SEEDS[target]
    data = bytearray(draw(st.sampled_from(honest)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(at + draw(st.sampled_from([1, 2, 4, 8, 30, 200])), len(data))
        match draw(st.integers(0, 6)):
            case 0:
                data[at : at + 1] = draw(st.binary(max_size=4))
            case 1:
                width = draw(st.sampled_from([2, 4, 8]))
                number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * width)
                data[at : at + width] = number.to_bytes(width, "little")
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4:
                other = draw(st.sampled_from(honest))
                data[at:end] = other[at : at + 60]
            case 5:
                data[at:at] = draw(st.sampled_from(WORDS))
            case _:
                del data[at:]
    return bytes(data)


NAMES = st.one_of(
    st.sampled_from(
        ["../x", "/x", "a", "a/b", "A", "a.", "con", ".", "..", "a/../b", "\\x", "C:x", "a\0b", "é", "e\u0301", "x.zip"]
    ),
    st.text(max_size=12),
)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A zip of entries with names, kinds, methods and sizes of every sort; then something of it overwritten."""
    made = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "w") as archive:
        for name in draw(st.lists(NAMES, min_size=1, max_size=5)):
            try:
                info = zipfile.ZipInfo(name or "x")
                info.external_attr = draw(st.sampled_from([0, 0o120777, 0o100644, 0o040755, 0o010644])) << 16
                info.compress_type = draw(st.sampled_from([0, 8, 12, 14]))
                archive.writestr(info, draw(st.binary(max_size=64)) * draw(st.sampled_from([1, 1, 500])))
            except (UnicodeError, ValueError):
                continue
    data = bytearray(made.getvalue())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        width = draw(st.sampled_from([1, 2, 4, 8]))
        data[at : at + width] = (draw(st.sampled_from(NUMBERS)) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(data)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["F32", "I8", "F4"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6) | st.sampled_from(["dtype", "shape", "data_offsets", "a", "model", "vocab", "normalizer",
        "chat_template", "template", "auto_map", "weight_map", "Regex", "added_tokens", "content", "pattern", "__metadata__"]),
        inner, max_size=4),
    max_leaves=16,
)  # fmt: skip


def _safetensors(value: Any) -> bytes:
    raw = json.dumps(value).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(16)


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """A pickle of opcodes in any order, most with an argument that could be right."""
    texts = st.sampled_from([b"os", b"system", b"torch", b"collections", b"OrderedDict", b"torch._utils", b"x.y", b""])
    parts = [b"\x80" + bytes([draw(st.integers(0, 5))])] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 24))):
        text = draw(texts)
        parts.append(draw(st.sampled_from([
            b"c" + text + b"\n" + text + b"\n", b"\x8c" + bytes([len(text)]) + text, b"\x93", b"\x94", b"R", b"(", b"t", b"b", b"0",
            b"1", b"2", b"h\0", b"q\0", b"q\1", b"h\1", b"i" + text + b"\n" + text + b"\n", b"o", b"\x81", b"\x92", b"\x82\1", b"P0\n",
            b"Q", b"K\1", b"\x8a\1\1", b"}", b"]", b"u", b"s", b"V" + text + b"\n", b"X" + struct.pack("<I", len(text)) + text, b"N",
            b"\x85", b"\x86", b"\x95" + bytes(8), b"p5\n", b"g5\n", b".", b"\x8d" + struct.pack("<Q", 2**40), b"B" + b"\xff" * 4,
        ])))  # fmt: skip
    return b"".join(parts) + b"."


SEEDS = {
    target: seeds.of(target)
    for target in ("archive", "safetensors", "gguf", "onnx", "pickle", "json", "template", "model")
}
PLANNED: dict[str, st.SearchStrategy[bytes]] = {
    "archive": archives(),
    "safetensors": JSON.map(_safetensors),
    "pickle": programs(),
    "json": JSON.map(lambda value: json.dumps(value).encode()),
    "model": st.tuples(st.binary(min_size=1, max_size=1), JSON).map(
        lambda pair: pair[0] + json.dumps(pair[1]).encode()
    ),
}


def of(target: str) -> st.SearchStrategy[bytes]:
    """Every kind of input for one target."""
    planned = PLANNED.get(target)
    mutated = changed(target)
    return (
        st.one_of(mutated, planned, st.binary(max_size=200))
        if planned is not None
        else mutated | st.binary(max_size=200)
    )
