"""GGUF models through llama.cpp's own server: a runtime plugin that imports the contract only."""

from modelyard_llamacpp.runtime import LlamaCppRuntime

__all__ = ["LlamaCppRuntime"]
