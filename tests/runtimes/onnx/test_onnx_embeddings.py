"""/v1/embeddings on the real demo model."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from openai import OpenAI

from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import running

TEXTS = [
    "A cat sleeps on the sofa.",
    "A kitten naps on the couch.",
    "Quarterly revenue rose by twelve percent compared with the year before, said the board.",
    "x",
]


def vectors(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([entry["embedding"] for entry in response.json()["data"]], dtype=np.float32)


def test_similar_sentences_are_closer_than_others(embedder):
    cat, kitten, revenue, _ = vectors(embedder.embed(TEXTS))
    assert cat @ kitten > 0.6
    assert abs(cat @ revenue) < 0.2


def test_embeddings_have_length_one(embedder):
    assert np.allclose(np.linalg.norm(vectors(embedder.embed(TEXTS)), axis=1), 1, atol=1e-5)


def test_a_list_answers_in_order_as_each_text_alone(embedder):
    together = vectors(embedder.embed(TEXTS))
    alone = np.vstack([vectors(embedder.embed(text)) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-4)


def test_concurrent_requests_answer_as_each_alone(embedder):
    texts = [f"{text} {number}" for number in range(12) for text in TEXTS]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda text: vectors(embedder.embed(text))[0], texts))
    alone = vectors(embedder.embed(texts))
    assert np.allclose(together, alone, atol=1e-4)


def test_openai_client_reads_base64_as_the_same_numbers(embedder):
    base_url = f"{embedder.context.base_url}/v1"
    with OpenAI(base_url=base_url, api_key=embedder.context.secret) as client:
        answer = client.embeddings.create(model="demo", input=TEXTS[:2])
        assert [model.id for model in client.models.list()] == ["demo"]
    assert np.allclose([entry.embedding for entry in answer.data], vectors(embedder.embed(TEXTS[:2])), atol=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 8


def test_base64_is_little_endian_float32(embedder):
    raw = embedder.embed(TEXTS[0], encoding_format="base64").json()["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(raw), "<f4"), vectors(embedder.embed(TEXTS[0]))[0], atol=1e-5)


def test_fewer_dimensions_are_the_first_ones_at_length_one(embedder):
    short, full = vectors(embedder.embed(TEXTS[0], dimensions=64))[0], vectors(embedder.embed(TEXTS[0]))[0]
    assert np.allclose(short, full[:64] / np.linalg.norm(full[:64]), atol=1e-5)


def test_token_ids_answer_as_their_text(embedder, demo_model):
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(demo_model / "tokenizer.json")).encode(TEXTS[0]).ids
    ids = [one for one in ids if one]
    assert np.allclose(vectors(embedder.embed(ids)), vectors(embedder.embed(TEXTS[0])), atol=1e-4)
    assert np.allclose(vectors(embedder.embed([ids, ids]))[1], vectors(embedder.embed(TEXTS[0]))[0], atol=1e-4)


def test_long_text_is_cut_to_the_models_length(embedder):
    answer = embedder.embed("word " * 5000).json()
    assert answer["usage"]["prompt_tokens"] == 256


@pytest.mark.parametrize(
    ("given", "more", "status", "says"),
    [
        ("", {}, 400, "empty text"),
        ([], {}, 400, "list of texts"),
        (["a", 1], {}, 400, "mixes kinds"),
        ([[1], []], {}, 400, "mixes kinds"),
        ([30522], {}, 400, "from 0 to 30521"),
        ([-1], {}, 400, "from 0 to 30521"),
        ([5] * 300, {}, 400, "more than the model's 256"),
        (["a"] * 2049, {}, 400, "at most 2048"),
        (None, {}, 400, "list of texts"),
        ("a", {"dimensions": 385}, 400, "384 dimensions"),
        ("a", {"dimensions": 0}, 400, "above 0"),
        ("a", {"encoding_format": "hex"}, 400, "base64"),
        ("a", {"model": "other"}, 404, '"demo"'),
        ("a", {"model": None}, 404, '"demo"'),
    ],
)
def test_wrong_request_is_answered_in_openais_shape(embedder, given, more, status, says):
    response = embedder.embed(given, **more)
    error = response.json()["error"]
    assert response.status_code == status
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_body_that_is_not_json_is_refused(embedder):
    response = embedder.client.post("/v1/embeddings", content=b'{"model": "demo", "input": "\xff"}')
    assert response.status_code == 400
    assert "not valid JSON" in response.json()["error"]["message"]


def test_sentence_output_of_the_graph_is_used_as_it_is(demo_model, tmp_path):
    folder = graphs.sentence_graph(tmp_path / "model")
    (folder / "tokenizer.json").write_bytes((demo_model / "tokenizer.json").read_bytes())
    with running(folder, tmp_path / "work") as engine:
        assert vectors(engine.embed(["one two", "one"])).tolist() == [[4.0, 2.0], [3.0, 2.0]]


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_pooling_and_scale_follow_the_options(demo_model, embedder, tmp_path, pooling):
    with running(demo_model, tmp_path, pooling=pooling, normalize="no") as engine:
        (found,) = vectors(engine.embed(TEXTS[0]))
        ids = {"datatype": "INT64", "shape": [1, 9]}
        raw = engine.infer(*(token_inputs(ids, demo_model))).json()["outputs"][0]
    tokens = np.array(raw["data"], dtype=np.float32).reshape(raw["shape"])[0]
    expected = tokens[0] if pooling == "cls" else tokens.max(axis=0)
    assert np.allclose(found, expected, atol=1e-4)


def token_inputs(like, demo_model):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(demo_model / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(TEXTS[0]).ids
    like = {**like, "shape": [1, len(ids)]}
    values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
    return [{**like, "name": name, "data": data} for name, data in values.items()]


def test_pooling_of_a_new_style_configuration_is_understood(demo_model, embedder, tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json"):
        (folder / name).symlink_to(demo_model / name)
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": ["mean", "cls"]}')
    with running(folder, tmp_path / "work") as engine:
        (found,) = vectors(engine.embed(TEXTS[0]))
    assert found.shape == (768,)
    assert np.isclose(np.linalg.norm(found), 1, atol=1e-5)
