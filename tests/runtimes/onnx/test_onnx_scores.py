"""Ranking, classification and prompts, on small graphs over a real tokenizer."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.runtimes import Model
from modelyard.runtimes.testing import RuntimeConformance, describe
from runtimes.onnx import OnnxRuntime
from runtimes.onnx.options import OnnxOptions
from tests.runtimes.demo_model import demo_model_folder
from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import Engine, running, starting
from tests.runtimes.packages import cached

RUNTIME = OnnxRuntime()
TOPICS = {"cat": 0, "kitten": 0, "ship": 1, "sea": 1, "bill": 2}


def ranker(folder: Path) -> Path:
    return graphs.scorer(folder, demo_model_folder() / "tokenizer.json", {"cat": 0, "kitten": 0}, 1, of_pairs=True)


def classifier(folder: Path) -> Path:
    return graphs.scorer(folder, demo_model_folder() / "tokenizer.json", TOPICS, 3, of_pairs=False)


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    place = tmp_path_factory.mktemp("ranking")
    with running(ranker(place / "model"), place / "work") as engine:
        yield engine


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    place = tmp_path_factory.mktemp("classes")
    with running(classifier(place / "model"), place / "work") as engine:
        yield engine


class TestRanker(RuntimeConformance):
    runtime = RUNTIME

    @classmethod
    def model(cls) -> Model:
        return describe(made("ranker"), format="onnx")


def made(kind: str) -> Path:
    """One for all test processes; to be read only."""
    return cached(f"made-{kind}-3", {"ranker": ranker, "classifier": classifier}[kind])


DOCUMENTS = ["a ship on the sea", "a cat and a kitten", {"text": "one cat"}]


def test_documents_are_ranked_by_the_pair(ranking: Engine) -> None:
    answer = ranking.post("/v1/rerank", {"model": "demo", "query": "cat", "documents": DOCUMENTS}).json()
    assert [result["index"] for result in answer["results"]] == [1, 2, 0]
    assert answer["results"][0]["relevance_score"] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-4)
    assert answer["results"][2]["relevance_score"] == pytest.approx(0.5, abs=1e-6)
    assert answer["results"][1]["document"] == {"text": "one cat"}
    assert answer["usage"]["prompt_tokens"] > 15


def test_only_the_best_are_told(ranking: Engine) -> None:
    body = {"model": "demo", "query": "cat", "documents": DOCUMENTS, "top_n": 1, "return_documents": False}
    (result,) = ranking.post("/v1/rerank", body).json()["results"]
    assert sorted(result) == ["index", "relevance_score"]


@pytest.mark.parametrize(
    ("change", "param"),
    [({"query": ""}, "query"), ({"documents": []}, "documents"), ({"documents": [1]}, "documents"),
     ({"top_n": 0}, "top_n"), ({"documents": "a"}, "documents")],
)  # fmt: skip
def test_a_bad_ranking_request_names_what_is_wrong(ranking: Engine, change: dict[str, object], param: str) -> None:
    answer = ranking.post("/v1/rerank", {"model": "demo", "query": "cat", "documents": ["a"], **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_what_a_sentence_transformers_model_says_of_its_scores_holds(tmp_path: Path) -> None:
    folder = ranker(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    own = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    with running(folder, tmp_path / "work") as engine:
        answer = engine.post("/v1/rerank", {"model": "demo", "query": "x", "documents": ["cat cat cat"]}).json()
    assert answer["results"][0]["relevance_score"] == pytest.approx(3.0)


def test_texts_get_labels_and_probabilities(classes: Engine) -> None:
    answer = classes.post("/v1/classify", {"model": "demo", "input": ["a ship at sea", "the bill"]}).json()
    assert [entry["label"] for entry in answer["data"]] == ["ships", "bills"]
    assert answer["data"][0]["num_classes"] == 3
    assert sum(answer["data"][0]["probs"]) == pytest.approx(1, abs=1e-5)


def test_several_labels_at_once_are_scored_alone(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    with running(folder, tmp_path / "work") as engine:
        answer = engine.post("/v1/classify", {"model": "demo", "input": "a cat on a ship"}).json()
    probabilities = answer["data"][0]["probs"]
    assert probabilities[0] == probabilities[1] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-4)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/embeddings"])
def test_another_task_is_refused(classes: Engine, path: str) -> None:
    body = {"model": "demo", "input": "a", "query": "a", "documents": ["b"]}
    assert classes.post(path, body).status_code == 404


@pytest.mark.parametrize(("kind", "path"), [("ranker", "/v1/rerank"), ("classifier", "/v1/classify")])
def test_the_plug_offers_what_the_model_does(kind: str, path: str) -> None:
    model = describe(made(kind), format="onnx")
    assert RUNTIME.routes(model, OnnxOptions())[0].path == path
    assert RUNTIME.sample(model, OnnxOptions(), "m").path == path


def prompted(tmp_path: Path, **more: object) -> Path:
    folder = shutil.copytree(demo_model_folder(), tmp_path / "model")
    prompts = {"query": "find: ", "passage": "text: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts, **more}))
    return folder


def test_prompts_go_before_the_text(tmp_path: Path) -> None:
    with running(prompted(tmp_path, default_prompt_name="passage"), tmp_path / "work") as engine:
        vectors = {
            name: engine.embed(text, **more).json()["data"][0]["embedding"]
            for name, text, more in [
                ("by name", "a cat", {"prompt_name": "query"}),
                ("by type", "a cat", {"input_type": "query"}),
                ("default", "a cat", {}),
                ("document", "a cat", {"input_type": "document"}),
            ]
        }
        unknown = engine.embed("a", prompt_name="nobody")
    assert vectors["by name"] == pytest.approx(vectors["by type"])
    assert vectors["default"] == pytest.approx(vectors["document"])
    assert vectors["default"] != pytest.approx(vectors["by name"], abs=1e-3)
    assert unknown.status_code == 400
    assert "query, passage" in unknown.json()["error"]["message"]


def test_a_prompt_is_the_text_before_it(tmp_path: Path, embedder: Engine) -> None:
    with running(prompted(tmp_path), tmp_path / "work") as engine:
        given = engine.embed("a cat", prompt_name="query").json()["data"][0]["embedding"]
    assert given == pytest.approx(embedder.embed("find: a cat").json()["data"][0]["embedding"], abs=1e-5)


def test_prompts_that_pooling_leaves_out_are_refused_at_the_start(tmp_path: Path) -> None:
    folder = prompted(tmp_path)
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling | {"include_prompt": False}))
    with starting(folder, tmp_path / "work") as engine:
        failure = engine.failure()
    assert (failure.code, failure.permanent) == ("pooling_unsupported", True)
