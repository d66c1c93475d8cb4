"""The recipes on a real model in full precision, and on graphs that they don't fit."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.launchers.host import this_host
from modelyard.runtimes import Failure, Model, OptimizeContext, Recipe
from modelyard.runtimes.testing import Engine, RuntimeConformance, assert_explained, describe
from runtimes.onnx import OnnxRuntime
from runtimes.onnx.options import OnnxOptions
from tests.runtimes.demo_model import demo_model_folder
from tests.runtimes.fp32_model import fp32_model_folder

RUNTIME = OnnxRuntime()
TEXTS = ["A small cat sleeps.", "Ships sail on the sea.", "The bill is due on Friday.", "Cats and ships."]


def fp32() -> Model:
    return describe(fp32_model_folder(), format="onnx", task="feature-extraction")


def offered(model: Model) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in RUNTIME.recipes(model, OnnxOptions(), this_host())}


@dataclass
class Run:
    """How a recipe's process ended."""

    output: Path
    exit_code: int | None
    log: list[str]


def make(model: Model, recipe: Recipe, place: Path) -> Run:
    """Run a recipe's process to its end."""
    output = place / "output"
    output.mkdir(parents=True)
    with Engine(RUNTIME, model, {}, place / "work") as process:
        process.run(RUNTIME.optimize(OptimizeContext(model, recipe, output, process.context.workdir)))
        return Run(output, process.gone(120).exit_code, list(process.log()))


def embeddings(model: Model, place: Path) -> Any:
    with Engine(RUNTIME, model, {}, place) as engine:
        engine.start().ready()
        answer = engine.ask("/v1/embeddings", {"input": TEXTS, "model": "model-under-test"}).json()
    return np.array([entry["embedding"] for entry in answer["data"]])


class TestRecipes(RuntimeConformance):
    """The whole suite on the model that all three recipes fit."""

    runtime = RUNTIME
    options = {"workers": 1}

    @classmethod
    def model(cls) -> Model:
        return fp32()


@pytest.mark.parametrize(
    ("name", "share", "agreement"), [("graph", 1.05, 0.9999), ("dynamic-int8", 0.27, 0.97), ("fp16", 0.55, 0.999)]
)
def test_the_artifact_is_smaller_and_agrees(name: str, share: float, agreement: float, tmp_path: Path) -> None:
    model = fp32()
    run = make(model, offered(model)[name], tmp_path)
    assert run.exit_code == 0, run.log
    before, after = (folder / "model.onnx" for folder in (model.path, run.output))
    assert after.stat().st_size < before.stat().st_size * share
    # Dynamic quantization scales by what stands in a batch, and that varies with how busy the machine is.
    original = embeddings(model, tmp_path / "a")
    optimized = embeddings(replace(model, path=run.output), tmp_path / "b")
    assert float((original * optimized).sum(axis=1).min()) > agreement


def test_the_artifact_has_all_that_the_model_had_but_its_weights(tmp_path: Path) -> None:
    model = fp32()
    run = make(model, offered(model)["graph"], tmp_path)
    files = {str(path.relative_to(run.output)) for path in run.output.rglob("*") if path.is_file()}
    assert files == {str(path.relative_to(model.path)) for path in model.path.rglob("*") if path.is_file()}
    said = [line for line in run.log if line.startswith("progress ")]
    assert said[0] == "progress 2 Loading the tools"
    assert said[-1] == "progress 100 Done"


def test_the_same_graph_gives_the_same_artifact(tmp_path: Path) -> None:
    model = fp32()
    recipe = offered(model)["dynamic-int8"]
    first, second = (make(model, recipe, tmp_path / name).output / "model.onnx" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["graph", "dynamic-int8", "fp16"])
def test_nothing_is_written_to_the_models_own_folder(name: str, tmp_path: Path) -> None:
    model = replace(fp32(), path=shutil.copytree(fp32().path, tmp_path / "model"))
    changed = model.path.stat().st_mtime_ns  # by whatever is made in it, even if it is removed again
    assert make(model, offered(model)[name], tmp_path).exit_code == 0
    assert model.path.stat().st_mtime_ns == changed


@pytest.mark.parametrize(("name", "share"), [("graph", 1.05), ("dynamic-int8", 0.27), ("fp16", 0.55)])
def test_weights_that_another_model_shares_are_read_too(name: str, share: float, tmp_path: Path) -> None:
    folder = shutil.copytree(fp32().path, tmp_path / "model")
    graph = onnx.load(str(folder / "model.onnx"))
    onnx.save_model(graph, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    data = folder / "model.onnx.data"
    os.link(data, tmp_path / "the-same-of-another-model")
    model = describe(folder, format="onnx")
    run = make(model, offered(model)[name], tmp_path)
    assert run.exit_code == 0, run.log
    assert sum(part.stat().st_size for part in run.output.glob("model.onnx*")) < data.stat().st_size * share


def test_what_is_quantized_is_not_quantized_again() -> None:
    assert list(offered(describe(demo_model_folder(), format="onnx"))) == ["graph"]


def test_a_recipe_of_another_graph_is_refused(tmp_path: Path) -> None:
    int8 = describe(demo_model_folder(), format="onnx")
    with pytest.raises(Failure) as caught:
        RUNTIME.optimize(OptimizeContext(int8, offered(fp32())["fp16"], tmp_path, tmp_path))
    assert_explained(caught.value)
    assert "graph" in caught.value.next_step


def test_a_damaged_graph_is_explained_and_left_alone(tmp_path: Path) -> None:
    model = fp32()
    recipe = offered(model)["graph"]
    folder = shutil.copytree(model.path, tmp_path / "model")
    weights = folder / "model.onnx"
    command_model = replace(model, path=folder)
    data = weights.read_bytes()
    output = tmp_path / "output"
    output.mkdir()
    with Engine(RUNTIME, command_model, {}, tmp_path / "work") as process:
        command = RUNTIME.optimize(OptimizeContext(command_model, recipe, output, process.context.workdir))
        weights.write_bytes(data[: len(data) // 2])
        process.run(command)
        seen = process.gone(60)
        failure = process.death()
    assert seen.exit_code != 0
    assert_explained(failure)
    assert failure.permanent
    assert weights.stat().st_size == len(data) // 2


def test_a_model_with_external_weights_is_one_folder_again(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=(512, 1024)).astype(np.float32)
    weight = helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1024])], [weight],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(made, folder / "model.onnx", save_as_external_data=True, location="weights.data", size_threshold=0)
    model = describe(folder, format="onnx")
    run = make(model, offered(model)["dynamic-int8"], tmp_path)
    assert run.exit_code == 0, run.log
    assert [path.name for path in run.output.iterdir()] == ["model.onnx"]
    assert (run.output / "model.onnx").stat().st_size < 600_000
