"""Readers of model files' headers: bounded in time and memory, and executing nothing."""

from apps.models.formats.inspect import Facts, inspect

__all__ = ["Facts", "inspect"]
