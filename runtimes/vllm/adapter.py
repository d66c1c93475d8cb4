"""A deployment of an adapter: vLLM loads the base, and answers with the adapter to who sends the deployment's name."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.runtimes import Adapter, Failure, Finding, LaunchContext, Level
from runtimes.vllm.options import VllmOptions

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` takes."""
UNKNOWN = {"use_dora": "DoRA", "modules_to_save": "modules_to_save", "alora_invocation_tokens": "aLoRA"}


def base_name(launch: LaunchContext[VllmOptions]) -> str:
    """What the base is served as: beside an adapter, which has the deployment's own name, under another one."""
    return f"{launch.served_name}-base" if launch.model.adapter else launch.served_name


def least_rank(adapter: Adapter) -> int:
    """The smallest `--max-lora-rank` that takes the adapter; memory is kept for all of it."""
    wanted = rank(adapter)
    return next((each for each in RANKS if each >= wanted), RANKS[-1])


def rank(adapter: Adapter) -> int:
    """The largest rank of its matrices."""
    said = config(adapter)
    patterns = said.get("rank_pattern")
    ranks = [said.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    return max((each for each in ranks if isinstance(each, int)), default=RANKS[0])


def check(adapter: Adapter) -> Iterator[Finding]:
    """What of PEFT vLLM doesn't load."""
    said = config(adapter)
    if rank(adapter) > RANKS[-1]:
        message = f"The adapter's rank is {rank(adapter)}, and vLLM takes {RANKS[-1]} at most."
        yield Finding(Level.BLOCK, "lora_rank", message, "Merge it into its base, and import that.")
    found = [title for name, title in UNKNOWN.items() if said.get(name)]
    if said.get("bias") not in {None, "none"}:
        found.append("biases")
    if found:
        message = f"The adapter uses {', '.join(found)}, which vLLM doesn't load."
        yield Finding(Level.BLOCK, "lora_kind", message, "Merge it into its base (merge_and_unload), and import that.")


def config(adapter: Adapter) -> Mapping[str, Any]:
    """adapter_config.json; Failure if it can't be read."""
    try:
        found = json.loads((adapter.path / "adapter_config.json").read_text())
    except (OSError, ValueError) as error:
        raise Failure("bad_adapter", f"adapter_config.json can't be read: {error}.", "Import the adapter again.",
                      permanent=True) from None  # fmt: skip
    return found if isinstance(found, dict) else {}
