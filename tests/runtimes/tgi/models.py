"""Model folders that the stand-in serves, or refuses in a chosen way."""

from pathlib import Path

from modelyard.runtimes import Model
from modelyard.runtimes.testing import describe
from tests.runtimes.folders import write_llama

STAND_IN = Path(__file__).parent / "stand_in"


def served(folder: Path, *faults: str, chat: bool = True) -> Model:
    """A folder with what TGI reads; each fault is a file that provokes one."""
    write_llama(folder, numbers=1000)
    (folder / "tokenizer.json").write_text("{}")
    if chat:
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    for fault in faults:
        (folder / fault).touch()
    return describe(folder, format="safetensors", task="text-generation")
