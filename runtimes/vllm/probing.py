"""What the engine is started for, and a request that shows it."""

from modelyard.runtimes import Model, SampleRequest
from runtimes.transformers_folder import has_chat_template, task
from runtimes.vllm.options import VllmOptions


def purpose(model: Model, options: VllmOptions) -> str:
    """What the engine is started for: `generate`, `embed`, `rank` or `classify`."""
    found = task(model)
    if options.runner == "generate":
        return "generate"
    return "embed" if options.runner == "pooling" and found == "generate" else found


def sample(model: Model, options: VllmOptions, name: str) -> SampleRequest:
    """A request that answers on this model."""
    wanted = purpose(model, options)
    if wanted == "embed":
        return SampleRequest("/v1/embeddings", {"model": name, "input": "A small cat."})
    if wanted == "rank":
        body = {"query": "What is a cat?", "documents": ["A cat is a small animal.", "Ships sail."]}
        return SampleRequest("/v1/rerank", {"model": name, **body})
    if wanted == "classify":
        return SampleRequest("/classify", {"model": name, "input": "A small cat."})
    if options.chat_template or has_chat_template(model):
        messages = [{"role": "user", "content": "Say in one sentence what a model registry is."}]
        return SampleRequest("/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 64})
    return SampleRequest("/v1/completions", {"model": name, "prompt": "A model registry is", "max_tokens": 64})
