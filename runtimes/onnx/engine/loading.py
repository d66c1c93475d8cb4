"""Loads the model, warms it up with real inferences and decides how it runs."""

import argparse
import logging
import time

from .batching import Batcher, Limits
from .calibrate import batch_of_tensors, batch_of_texts, choose_threads
from .classes import ClassModel, load_class_model
from .exits import Exit, StartFailure
from .graph import load as load_graph
from .graph import read_header
from .infer import TensorModel
from .measures import Measures
from .refusals import Refusal
from .service import Service
from .texts import TextModel, load_text_model

log = logging.getLogger(__name__)


def load(options: argparse.Namespace) -> Service:
    """A warm service that isn't listening yet; raises StartFailure."""
    started = time.perf_counter()
    header = read_header(options.graph)
    threads = choose_threads(header.weight_bytes, options.workers, options.intra_op_threads)
    graph = load_graph(options.graph, header, threads.intra_op)
    tensors = TensorModel(graph)
    texts = load_text_model(
        graph, options.folder, options.graph, options.pooling, options.normalize, options.max_length
    )
    classes = load_class_model(graph, options.folder, options.graph, options.max_length) if texts is None else None
    batch = warm_up(tensors, texts or classes, options.max_batch_size)
    limits = Limits(threads.workers, batch, options.max_batch_delay_ms / 1000, options.max_queue)
    measures = Measures()
    batcher = Batcher(limits, measures.batch)
    batcher.start()
    log.info(
        "%s is ready after %.1f s: %d at a time with %d threads each, up to %d together, %d may wait",
        options.name, time.perf_counter() - started, limits.workers, threads.intra_op, batch, limits.max_queue,
    )  # fmt: skip
    return Service(options.name, tensors, texts, classes, batcher, measures, int(time.time()))


def warm_up(tensors: TensorModel, texts: TextModel | ClassModel | None, wanted: int) -> int:
    """One inference at least; how many may run together. Raises StartFailure where it doesn't work."""
    if texts is None:
        return batch_of_tensors(tensors, wanted)
    try:
        return batch_of_texts(texts, wanted)
    except (Refusal, ValueError) as error:
        raise StartFailure(Exit.INFERENCE_FAILED, f"the first inference failed: {error}") from error
