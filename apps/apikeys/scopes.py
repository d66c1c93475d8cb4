"""What a key may be for: names that people choose from, and the engine paths that each opens."""

from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

SCOPES = {
    "chat": ("/v1/chat/completions", "/v1/responses"),
    "completions": ("/v1/completions", "/generate", "/generate_stream"),
    "embeddings": ("/v1/embeddings",),
    "rank": ("/v1/rerank", "/v1/score"),
    "classify": ("/v1/classify", "/classify"),
    "tokens": ("/tokenize", "/detokenize"),
    "infer": ("/v2",),
}
LABELS = {
    "chat": _("Chat and responses"), "completions": _("Completions"), "embeddings": _("Embeddings"),
    "rank": _("Ranking"), "classify": _("Classification"), "tokens": _("Tokenize"),
    "infer": _("Tensors (Open Inference Protocol)"),
}  # fmt: skip
ALWAYS = "/v1/models"
"""Every key may ask which models there are: clients do so to see whether they got through."""


def allows(scopes: Iterable[str], path: str) -> bool:
    """Does a key of these scopes (none: every) open an engine's path?"""
    wanted = tuple(scopes)
    if not wanted or path == ALWAYS or path.startswith(f"{ALWAYS}/"):
        return True
    opened = (prefix for scope in wanted for prefix in SCOPES.get(scope, ()))
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in opened)
