"""Makes an optimized model folder: `python .../runtimes/onnx/engine optimize RECIPE --folder ...`.

Every recipe depends on the graph alone, never on this processor: what it makes is used on others too.
"""

import argparse
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .exits import Exit, StartFailure
from .modelproto import GraphHeader
from .start import guarded

LARGE = 1_500_000_000
"""Bytes of weights above which they are kept in a file of their own: a protobuf file ends at 2 GiB."""

LEFT_OUT = {".onnx", ".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".tflite", ".ot"}
"""Other weights of the model: the engine reads one graph."""

OPTION_CHARACTERS = 200  # of an error of a library


def progress(percent: int, what: str) -> None:
    """A line that people see."""
    sys.stdout.write(f"progress {percent} {what}\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Runs one recipe; the exit status says why it failed."""
    return guarded(lambda: _optimize(_options(argv)))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelyard-onnx optimize")
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(argv)


def _optimize(options: argparse.Namespace) -> None:
    progress(2, "Loading the tools")
    try:
        from .graph import read_header
    except ImportError as error:
        raise StartFailure(Exit.MISSING_PACKAGE, f"{sys.executable} lacks a part of the engine: {error}") from error
    header = read_header(options.graph)
    target = options.output / options.graph.parent.relative_to(options.folder) / "model.onnx"
    progress(5, "Copying what belongs to the model")
    _copy_rest(options.folder, options.output, header)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        RECIPES[options.recipe](options.graph, target, header)
    except ImportError as error:
        raise StartFailure(Exit.MISSING_PACKAGE, f"{sys.executable} lacks a part of the recipe: {error}") from error
    except (StartFailure, OSError, MemoryError):
        raise
    except Exception as error:  # what a converter raises on a graph that it can't handle has no base class
        said = " ".join(str(error).split())[:OPTION_CHARACTERS]
        raise _failure(said, type(error).__name__) from error
    progress(90, "Trying what came out")
    _try(target, options.output)
    progress(100, "Done")


def _failure(said: str, kind: str) -> StartFailure:
    if "No space left" in said:
        return StartFailure(Exit.DISK_FULL, said)
    if "bad allocation" in said or "bad_alloc" in said:
        return StartFailure(Exit.OUT_OF_MEMORY, said)
    return StartFailure(Exit.NOT_CONVERTIBLE, f"{kind}: {said}" if said else kind)


def _copy_rest(folder: Path, output: Path, header: GraphHeader) -> None:
    """Tokenizer, configuration, card: all but weights."""
    external = {weights.external for weights in header.weights if weights.external}
    for source in sorted(folder.rglob("*")):
        place = source.relative_to(folder)
        if source.is_dir() or source.suffix.lower() in LEFT_OUT or source.name in external:
            continue
        (output / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, output / place)


def _outside(header: GraphHeader) -> bool:
    """Whether weights are in a file beside the graph."""
    return any(weights.external for weights in header.weights)


def _graph(source: Path, target: Path, header: GraphHeader) -> None:
    """Constant folding and fusions that hold on every processor."""
    import onnxruntime as ort

    progress(20, "Folding constants and fusing operators")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    if header.weight_bytes > LARGE or _outside(header):
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "model.onnx.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _dynamic_int8(source: Path, target: Path, header: GraphHeader) -> None:
    """Weights in 8 bits with a scale per channel; activations are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    progress(20, "Quantizing weights to 8 bits")
    with tempfile.TemporaryDirectory() as elsewhere:
        quantize_dynamic(
            _copied(source, header, Path(elsewhere)), target, per_channel=True, reduce_range=False,
            weight_type=QuantType.QInt8, use_external_data_format=header.weight_bytes > LARGE,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip


def _copied(source: Path, header: GraphHeader, folder: Path) -> Path:
    """The graph in a folder of its own: onnxruntime writes beside it what it infers, and the model's isn't written to.

    Copies, because onnx refuses weights in a file that has a second name, as those that two models share have.
    """
    for name in {source.name, *(weights.external for weights in header.weights if weights.external)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, folder / name)
    return folder / source.name


def _fp16(source: Path, target: Path, header: GraphHeader) -> None:
    """Half the numbers' bits; inputs and outputs stay as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    progress(20, "Reading the graph")
    with tempfile.TemporaryDirectory() as elsewhere:
        model = onnx.load(str(_copied(source, header, Path(elsewhere)) if _outside(header) else source))
    progress(40, "Converting to 16 bits")
    large = header.weight_bytes > LARGE
    converted: Any = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=large)
    progress(70, "Writing the graph")
    onnx.save_model(converted, str(target), save_as_external_data=large, location="model.onnx.data")


RECIPES: dict[str, Callable[[Path, Path, GraphHeader], None]] = {
    "graph": _graph,
    "dynamic-int8": _dynamic_int8,
    "fp16": _fp16,
}


def _try(graph_path: Path, folder: Path) -> None:
    """It loads and answers as the engine will have it, before anybody relies on it."""
    from .classes import load_class_model
    from .graph import load, read_header
    from .infer import TensorModel
    from .loading import warm_up
    from .texts import load_text_model

    header = read_header(graph_path)
    graph = load(graph_path, header, 1)
    texts = load_text_model(graph, folder, graph_path, "auto", "auto", 0)
    classes = load_class_model(graph, folder, graph_path, 0) if texts is None else None
    warm_up(TensorModel(graph), texts or classes, 1)
    _flush(folder)


def _flush(folder: Path) -> None:
    """On the disk before it counts as made."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
            finally:
                os.close(handle)
