"""The suite on the ONNX runtime, with a real embedding model."""

from modelyard.runtimes import Model
from modelyard.runtimes.testing import RuntimeConformance, describe
from runtimes.onnx import OnnxRuntime
from tests.runtimes.demo_model import demo_model_folder


class TestOnnx(RuntimeConformance):
    runtime = OnnxRuntime()

    @classmethod
    def model(cls) -> Model:
        return describe(demo_model_folder(), format="onnx", task="feature-extraction")
