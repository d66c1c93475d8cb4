"""A deployment of an adapter: what vLLM is started with, and what of PEFT it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.runtimes import Adapter, LaunchContext, Level, Model
from runtimes.vllm import VllmRuntime
from runtimes.vllm.options import VllmOptions
from tests.runtimes.folders import write_llama
from tests.runtimes.vllm.test_vllm_plug import CPU_HOST, build  # noqa: F401

RUNTIME = VllmRuntime()


def adapted(folder: Path, **said: Any) -> Model:
    """A model with an adapter of rank 8 on it."""
    (folder / "polite").mkdir()
    (folder / "polite" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, **said}))
    return replace(write_llama(folder / "base"), adapter=Adapter("mdl_a", "polite", folder / "polite"))


def argv(model: Model, workdir: Path, **options: Any) -> list[str]:
    launch = LaunchContext(model, VllmOptions(**options), "127.0.0.1", 4711, "s3cret", workdir, "chat")
    return list(RUNTIME.command(launch).argv)


def test_the_deployment_s_name_is_the_adapter_s(build: Any, tmp_path: Path) -> None:  # noqa: F811
    build(cpu=True)
    given = argv(adapted(tmp_path), tmp_path)
    assert given[2:5] == [str(tmp_path / "base"), "--served-model-name", "chat-base"]
    assert given[given.index("--lora-modules") + 1 :] == [f"chat={tmp_path / 'polite'}"]
    assert {"--enable-lora", "--max-lora-rank=8"} <= set(given)


def test_others_may_stand_beside_it(build: Any, tmp_path: Path) -> None:  # noqa: F811
    build(cpu=True)
    given = argv(adapted(tmp_path), tmp_path, lora_adapters=["rude=mdl_b"])
    assert given[given.index("--lora-modules") + 1 :] == [f"chat={tmp_path / 'polite'}", f"rude={tmp_path / 'mdl_b'}"]


@pytest.mark.parametrize(("said", "rank"), [({"r": 9}, 16), ({"r": 4}, 8), ({"rank_pattern": {"q_proj": 33}}, 64)])
def test_memory_is_kept_for_the_largest_rank(build: Any, tmp_path: Path, said: Any, rank: int) -> None:  # noqa: F811
    build(cpu=True)
    assert f"--max-lora-rank={rank}" in argv(adapted(tmp_path, **said), tmp_path)


@pytest.mark.parametrize(
    ("said", "code"),
    [({"r": 1024}, "lora_rank"), ({"use_dora": True}, "lora_kind"), ({"bias": "all"}, "lora_kind"),
     ({"modules_to_save": ["lm_head"]}, "lora_kind")],
)  # fmt: skip
def test_what_vllm_does_not_load_is_told_before(build: Any, tmp_path: Path, said: Any, code: str) -> None:  # noqa: F811
    build(cpu=True)
    found = {each.code: each.level for each in RUNTIME.check(adapted(tmp_path, **said), VllmOptions(), CPU_HOST)}
    assert found[code] == Level.BLOCK
