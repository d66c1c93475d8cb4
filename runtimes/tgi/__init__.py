"""The TGI plug: drives an installed text-generation-launcher."""

from runtimes.tgi.runtime import TgiRuntime

__all__ = ["TgiRuntime"]
