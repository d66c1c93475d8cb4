"""The vLLM runtime: language, embedding and ranking models through vLLM's own server."""

from runtimes.vllm.runtime import VllmRuntime

__all__ = ["VllmRuntime"]
