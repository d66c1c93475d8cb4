"""The TGI plug: drives a text-generation-launcher that is installed, or in a container image."""

from runtimes.tgi.runtime import TgiRuntime

__all__ = ["TgiRuntime"]
