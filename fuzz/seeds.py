"""Honest files, small ones, that inputs are made from; and pickles that want something, never loaded."""

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from typing import Any

from fuzz.targets import FILES, ONNX_BYTES


class Wants:
    """A pickle of it would run something if it were loaded."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of them."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def safetensors() -> bytes:
    """Two tensors."""
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "I8", "shape": [3], "data_offsets": [16, 19]},
    }
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(19)


def gguf() -> bytes:
    """Texts, numbers, arrays, a template and two tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.context_length") + struct.pack("<II", 4, 4096),
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 0.25),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ messages[0].content }}"),
    ]
    tensors = [
        text("w") + struct.pack("<IQQIQ", 2, 32, 2, 2, 0),
        text("b") + struct.pack("<IQIQ", 1, 4, 0, 64),
    ]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs + tensors)
    return head + bytes(-len(head) % 32) + bytes(96)


def pickles() -> list[bytes]:
    """Plain ones of every protocol, those that want something, and PyTorch's two kinds of file."""
    state = OrderedDict(weight=[1.0, 2.0], name="w")
    plain = [pickle.dumps(state, protocol) for protocol in range(6)]
    wants = [pickle.dumps(Wants(print, ("never",)), protocol) for protocol in range(6)]
    numbers = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    legacy = b"".join(pickle.dumps(value, 2) for value in (*numbers, state, ["0"])) + bytes(16)
    files = {"m/data.pkl": plain[2], "m/data/0": bytes(8), "m/version": b"3\n", "m/byteorder": b"little"}
    archives = [zipped(files, zipfile.ZIP_STORED), zipped({**files, "m/data.pkl": wants[4]}, zipfile.ZIP_STORED)]
    return [*plain, *wants, legacy, *archives, pickletools.optimize(wants[4])]


TEMPLATES = [
    b"{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
    b"{% macro f(x) %}{{ x | tojson }}{% endmacro %}{% set ns = namespace(n=0) %}{% for i in range(3) %}"
    b"{% set ns.n = ns.n + i %}{% endfor %}{{ f(messages) }}{{ raise_exception('no') if ns.n > 9 }}",
    b"{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__ }}{% include 'x' %}",
    b"{% generation %}{{ messages | map(attribute='content') | join(',') }}{% endgeneration %}{% break %}",
]
DOCUMENTS = [
    b'{"architectures": ["BertModel"], "auto_map": {"AutoModel": "x.Y"}, "max_position_embeddings": 512, "a": [1e999, NaN]}',
    b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}, "added_tokens": [{"content": "<s>"}], "normalizer":'
    b' {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "(a+)+"}, "content": "bb"}]}}',
    b'{"chat_template": [{"name": "default", "template": "{{ messages }}"}], "weight_map": {"a": "b.safetensors"}}',
    b'[{"idx": 0, "type": "sentence_transformers.models.Transformer"}, {"type": "x.Y"}]',
    b"---\nlicense: mit\n---\npassword = 'correct horse battery'\n-----BEGIN PRIVATE KEY-----\nx\n",
]


def of(target: str) -> list[bytes]:
    """The honest inputs of one target."""
    found = {
        "archive": [
            zipped({"m/model.onnx": ONNX_BYTES, "m/config.json": b"{}"}),
            zipped({"a/b/c.txt": b"x" * 2000, "d.json": b"[]"}),
            zipped({"../x": b"x"}),
        ],
        "safetensors": [safetensors()],
        "gguf": [gguf()],
        "onnx": [ONNX_BYTES],
        "pickle": pickles(),
        "json": DOCUMENTS,
        "template": TEMPLATES,
    }
    anything = [
        bytes([number % len(FILES)]) + text for text in (*DOCUMENTS, *pickles()[:8]) for number in range(len(FILES))
    ]
    return found.get(target) or anything
