"""The ONNX Runtime plug: serves any ONNX graph on the CPU, and embeddings where the model has a tokenizer."""

from runtimes.onnx.runtime import OnnxRuntime

__all__ = ["OnnxRuntime"]
