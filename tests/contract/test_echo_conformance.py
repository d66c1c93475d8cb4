"""The suite on the small runtime that the platform's own tests deploy."""

from dataclasses import replace
from pathlib import Path

from modelyard_echo import EchoRuntime

from modelyard.runtimes import Model
from modelyard.runtimes.testing import RuntimeConformance, describe
from tests.runtimes.demo_model import demo_model_folder


class TestEcho(RuntimeConformance):
    runtime = EchoRuntime()
    recipes = ("copy", "shout", "loud")

    @classmethod
    def model(cls) -> Model:
        return describe(demo_model_folder(), format="onnx")

    @classmethod
    def broken_model(cls, folder: Path) -> Model:
        (folder / "broken").touch()
        return replace(cls.model(), path=folder)
