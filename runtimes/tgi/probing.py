"""What Copy cURL shows, and what readiness stands on."""

from modelyard.runtimes import Model, SampleRequest
from runtimes.transformers_folder import has_chat_template


def sample(model: Model, name: str) -> SampleRequest:
    """A chat where the model has a template for it, else a completion."""
    if has_chat_template(model):
        messages = [{"role": "user", "content": "Say in one sentence what a model registry is."}]
        return SampleRequest("/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 64})
    return SampleRequest("/v1/completions", {"model": name, "prompt": "A model registry is", "max_tokens": 64})
