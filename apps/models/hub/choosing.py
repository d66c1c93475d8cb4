"""Which files of a repository are taken: one format of weights, no duplicates, and what the model needs beside them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

WEIGHTS = (".safetensors", ".onnx", ".gguf")
NEVER = re.compile(
    r"(^|/)(\.git|\.cache|\.DS_Store|__pycache__)|\.(bin|pt|pth|ckpt|pkl|pickle|h5|keras|msgpack|ot|tflite|mlmodel|mlpackage"
    r"|zip|tar|t?gz|bz2|7z|xz|rar|zst|jar|whl|png|jpe?g|gif|webp|svg|mp4|mp3|wav|pdf|ipynb)$|\.mlpackage/|^(original|runs|coreml|openvino|flax)/",
    re.IGNORECASE,
)
"""Weights of other frameworks, archives, pictures, training logs."""
SHARD = re.compile(r"-(\d{1,6})-of-(\d{1,6})(?=\.)")
"""Mostly five digits each; DeepSeek-V3 has `-00001-of-000163`, Kimi-K2 `-1-of-61`."""
QUANTIZATION = re.compile(r"[-._](?:UD-)?((?:I?Q\d(?:_[0-9A-Z]+)*)|F16|BF16|F32|FP16|MXFP4)(?=[-._]|$)", re.IGNORECASE)
GGUF_ORDER = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q4_1", "Q8_0", "Q6_K", "F16", "BF16")
"""Four bits with mixed precision lose little and fit most machines; the makers of llama.cpp recommend the first."""
ONNX_ORDER = ("model.onnx", "onnx/model.onnx")
SIDE_ONNX = ("onnx/", "openvino/")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: bytes, and its SHA-256 (large files) or its Git hash (small ones), in hex."""

    path: str
    size: int
    sha256: str = ""
    oid: str = ""


@dataclass(frozen=True)
class Variant:
    """One way to take a repository: a label, its format, and the files of its weights."""

    key: str
    label: str
    format: str
    weights: tuple[str, ...]
    size: int


def variants(files: Sequence[RemoteFile]) -> list[Variant]:
    """The formats and precisions a repository has, the one that we take by ourselves first."""
    sizes = {file.path: file.size for file in files}
    return [*_safetensors(sizes), *_onnx(sizes), *_gguf(sizes)]


def chosen(files: Sequence[RemoteFile], variant: Variant | None, patterns: Sequence[str]) -> list[RemoteFile]:
    """The files to download: what the patterns match; without any, the variant and what belongs to it."""
    if patterns:
        return [file for file in files if any(_matches(file.path, pattern) for pattern in patterns)]
    weights = set(variant.weights) if variant else set()
    return [file for file in files if file.path in weights or _beside(file.path, variant)]


def _matches(path: str, pattern: str) -> bool:
    return fnmatch(path, pattern) or (pattern.endswith("/") and path.startswith(pattern))


def _beside(path: str, variant: Variant | None) -> bool:
    """Configuration, tokenizer, card: not weights, and nothing of another variant's folder."""
    if NEVER.search(path) or path.endswith((*WEIGHTS, ".index.json")) or _is_data(path):
        return bool(variant) and path.endswith(".safetensors.index.json") and _of_index(path, variant)
    return variant is not None and (variant.format == "onnx" or not path.startswith(SIDE_ONNX))


def _of_index(path: str, variant: Variant | None) -> bool:
    stem = path.removesuffix(".safetensors.index.json")
    return variant is not None and any(SHARD.search(name) and name.startswith(f"{stem}-") for name in variant.weights)


def _is_data(path: str) -> bool:
    return path.endswith((".onnx_data", ".onnx.data")) or re.search(r"\.onnx_data(_\d+)?$", path) is not None


def _safetensors(sizes: dict[str, int]) -> Iterable[Variant]:
    """Those of the top folder; of a sharded and a consolidated copy of the same, the sharded one."""
    top = [path for path in sizes if path.endswith(".safetensors") and "/" not in path]
    taken = [path for path in top if not path.startswith(("consolidated", "adapter_"))] or top
    precise = [path for path in taken if not re.search(r"\.(fp16|fp8|int8)\.", path)] or taken
    # Tensors that an index names may lie beside the shards (multi-token prediction, what a quantizer left as it was).
    copies = {SHARD.sub("", path) for path in precise if SHARD.search(path)}
    precise = [path for path in precise if path not in copies]
    folders = [
        p for p in sizes if p.endswith(".safetensors") and "/" in p and not p.startswith((*SIDE_ONNX, "original/"))
    ]
    if precise:
        # The parts of a pipeline (sentence-transformers' Dense) lie in folders of their own.
        parts = [path for path in folders if re.match(r"\d+_\w+/", path)]
        yield _variant("safetensors", "safetensors", "safetensors", [*precise, *parts], sizes)


def _onnx(sizes: dict[str, int]) -> Iterable[Variant]:
    graphs = [path for path in sizes if path.endswith(".onnx")]
    graphs.sort(key=lambda path: (ONNX_ORDER.index(path) if path in ONNX_ORDER else len(ONNX_ORDER), path))
    for graph in graphs:
        data = [path for path in sizes if _is_data(path) and path.startswith(graph.removesuffix(".onnx"))
                and path.removeprefix(graph).startswith(("_data", ".data"))]  # fmt: skip
        yield _variant(graph, f"ONNX, {graph}", "onnx", [graph, *data], sizes)


def _gguf(sizes: dict[str, int]) -> Iterable[Variant]:
    """One a quantization; the shards of one belong together. What projects pictures isn't a model of its own."""
    groups: dict[str, list[str]] = {}
    for path in sizes:
        if path.endswith(".gguf") and "mmproj" not in path.lower() and "imatrix" not in path.lower():
            groups.setdefault(SHARD.sub("", path), []).append(path)
    for name in sorted(groups, key=lambda name: (_rank(name), name)):
        quantization = _quantization(name)
        yield _variant(name, f"GGUF, {quantization or name}", "gguf", sorted(groups[name]), sizes)


def _quantization(name: str) -> str:
    found = QUANTIZATION.findall(name.rsplit("/", 1)[-1].removesuffix(".gguf"))
    return found[-1].upper() if found else ""


def _rank(name: str) -> int:
    quantization = _quantization(name)
    return GGUF_ORDER.index(quantization) if quantization in GGUF_ORDER else len(GGUF_ORDER)


def _variant(key: str, label: str, form: str, weights: Sequence[str], sizes: dict[str, int]) -> Variant:
    return Variant(key, label, form, tuple(weights), sum(sizes[path] for path in weights))
