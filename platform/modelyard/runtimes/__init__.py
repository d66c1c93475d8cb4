"""The contract of runtime plugins. A plugin imports this package and nothing else of Modelyard.

A runtime drives one kind of inference engine (vLLM, TGI, ONNX Runtime ...). It is one class, registered under the
entry-point group `modelyard.runtimes`; the entry point's name is what the database stores.
"""

from modelyard.runtimes.contract import (
    CONTRACT_VERSION,
    PROGRESS,
    Adapter,
    Command,
    Estimate,
    EstimatePart,
    Failure,
    Finding,
    Gpu,
    Host,
    LaunchContext,
    Level,
    Model,
    ModelFile,
    OptimizeContext,
    Options,
    Recipe,
    Route,
    Runtime,
    SampleRequest,
    Usage,
    with_text,
)

__all__ = [
    "CONTRACT_VERSION",
    "PROGRESS",
    "Adapter",
    "Command",
    "Estimate",
    "EstimatePart",
    "Failure",
    "Finding",
    "Gpu",
    "Host",
    "LaunchContext",
    "Level",
    "Model",
    "ModelFile",
    "OptimizeContext",
    "Options",
    "Recipe",
    "Route",
    "Runtime",
    "SampleRequest",
    "Usage",
    "with_text",
]
