"""The plug's verbs, as the platform calls them."""

import dataclasses
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import psutil
import pytest

from modelyard.runtimes import Failure, Host, Level
from runtimes.onnx import OnnxRuntime
from runtimes.onnx.engine.exits import Exit
from runtimes.onnx.options import OnnxOptions
from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import RUNTIME, context, model, running, serving

HOST = Host(cpus=2, memory_total=8 << 30, memory_available=6 << 30)


def found(folder, host=HOST, **options):
    return {finding.code: finding for finding in RUNTIME.check(model(folder), OnnxOptions(**options), host)}


def test_plug_is_found_by_its_entry_point():
    (entry,) = [entry for entry in entry_points(group="modelyard.runtimes") if entry.name == "onnx"]
    assert entry.load() is OnnxRuntime


def test_importing_the_plug_imports_no_engine():
    script = "import runtimes.onnx, sys; print([n for n in sys.modules if n in sys.argv])"
    names = ["onnxruntime", "numpy", "tokenizers", "orjson", "uvicorn", "django", "celery"]
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_option_has_a_default_a_title_and_a_description():
    for name, field in OnnxOptions.model_fields.items():
        assert not field.is_required(), name
        assert field.title, name
        assert field.description, name


def test_demo_model_passes_every_check(demo_model):
    assert {code: finding.level for code, finding in found(demo_model).items()} == {"embeds_text": Level.INFO}


def test_model_in_another_format_is_blocked(demo_model):
    other = dataclasses.replace(model(demo_model), format="safetensors")
    (finding,) = RUNTIME.check(other, OnnxOptions(), HOST)
    assert (finding.level, finding.code) == (Level.BLOCK, "wrong_format")


def test_folder_without_a_graph_is_blocked(tmp_path):
    finding = found(tmp_path)["graph_missing"]
    assert finding.level is Level.BLOCK
    assert finding.fix


def test_model_onnx_is_chosen_among_several_and_said(tmp_path):
    graphs.identity(tmp_path, "FP32")
    (tmp_path / "another.onnx").write_bytes((tmp_path / "model.onnx").read_bytes())
    finding = found(tmp_path)["several_graphs"]
    assert finding.level is Level.WARN
    assert finding.message == "Serving model.onnx; left aside: another.onnx."


def test_graph_in_the_onnx_folder_is_found(tmp_path):
    graphs.identity(tmp_path / "onnx", "FP32")
    assert found(tmp_path) == {}
    argv = RUNTIME.command(context(tmp_path, tmp_path / "work")).argv
    assert str(tmp_path / "onnx/model.onnx") in argv


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("w.bin", "external_data_missing"),
        ("../w.bin", "external_data_outside"),
        ("/etc/passwd", "external_data_outside"),
    ],
)
def test_weights_elsewhere_are_blocked(tmp_path, location, code):
    finding = found(graphs.external_weights(tmp_path, location))[code]
    assert finding.level is Level.BLOCK


def test_broken_graph_is_blocked_before_it_starts(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph at all")
    assert found(tmp_path)["graph_invalid"].level is Level.BLOCK


@pytest.mark.parametrize("content", ["{", "[]", '{"model": 1}', "\x00"])
def test_file_that_is_no_tokenizer_is_blocked_before_it_starts(tmp_path, content):
    graphs.sentence_graph(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    assert found(tmp_path)["tokenizer_invalid"].level is Level.BLOCK


def test_too_little_memory_is_blocked_with_numbers(demo_model):
    small = Host(cpus=2, memory_total=64 << 20, memory_available=64 << 20)
    finding = found(demo_model, small)["out_of_memory"]
    assert finding.level is Level.BLOCK
    assert "64 MiB are free" in finding.message


@pytest.mark.parametrize("wanted", ["/nowhere/python", "/bin/cat", "/bin/false"])
def test_interpreter_that_cannot_run_the_engine_is_blocked(demo_model, monkeypatch, wanted):
    monkeypatch.setenv("MODELYARD_ONNX_PYTHON", wanted)
    blocked = [finding for finding in found(demo_model).values() if finding.level is Level.BLOCK]
    assert len(blocked) == 1
    assert "MODELYARD_ONNX_PYTHON" in blocked[0].fix


def test_interpreter_without_the_packages_is_told_what_to_install(demo_model, monkeypatch, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("MODELYARD_ONNX_PYTHON", str(bare))
    finding = found(demo_model)["missing_package"]
    assert "onnxruntime" in finding.message
    assert f'{bare} -m pip install "modelyard[onnx]"' in finding.fix


def test_interpreter_of_the_setting_runs_the_engine(monkeypatch, tmp_path):
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("MODELYARD_ONNX_PYTHON", str(other))
    assert RUNTIME.command(context(tmp_path_graph(tmp_path), tmp_path / "work")).argv[0] == str(other)


def tmp_path_graph(tmp_path):
    return graphs.identity(tmp_path / "model", "FP32")


def test_estimate_of_the_demo_model_holds_what_the_engine_uses(demo_model, embedder):
    estimate = RUNTIME.estimate(model(demo_model), OnnxOptions(), HOST)
    assert estimate.low < estimate.likely < estimate.high
    assert estimate.likely == sum(part.bytes for part in estimate.parts)
    assert all(part.formula for part in estimate.parts)
    embedder.embed(["word " * 300] * 8)
    used = psutil.Process(embedder.process.pid).memory_info().rss
    assert estimate.low <= used <= estimate.high


def test_estimate_counts_weights_in_other_files(tmp_path):
    folder = graphs.external_weights(tmp_path, "w.bin")
    parts = {part.name: part.bytes for part in RUNTIME.estimate(model(folder), OnnxOptions(), HOST).parts}
    assert parts["weights"] == int(16 * 1.2)


def test_routes_of_a_text_model_include_embeddings(demo_model, tmp_path):
    text = {route.path for route in RUNTIME.routes(model(demo_model), OnnxOptions())}
    other = {route.path for route in RUNTIME.routes(model(tmp_path_graph(tmp_path)), OnnxOptions())}
    assert text - other == {"/v1/embeddings"}
    assert "/v2/models/{name}/infer" in other
    assert "/metrics" not in text


def test_sample_of_a_text_model_answers(demo_model, embedder):
    sample = RUNTIME.sample(model(demo_model), OnnxOptions(), "demo")
    answer = embedder.post(sample.path, sample.body).json()
    assert len(answer["data"][0]["embedding"]) == 384
    usage = RUNTIME.usage(sample.path, answer)
    assert usage is not None
    assert usage.prompt_tokens == answer["usage"]["prompt_tokens"] > 0


def test_sample_of_every_datatype_answers(typed):
    sample = RUNTIME.sample(typed.context.model, OnnxOptions(), "demo")
    assert len(json.dumps(sample.body)) < 8192
    assert typed.post(sample.path, sample.body).status_code == 200


def test_sample_takes_the_smallest_shape_where_a_larger_one_would_be_long(tmp_path):
    graphs.identity(tmp_path, "FP32", ["n", 1000, "m"])
    (entry,) = RUNTIME.sample(model(tmp_path), OnnxOptions(), "demo").body["inputs"]
    assert entry["shape"] == [1, 1000, 1]


def test_sample_of_a_huge_input_asks_for_the_metadata(tmp_path):
    folder = graphs.identity(tmp_path / "model", "FP32", ["n", 3, 224, 224])
    with running(folder, tmp_path / "work") as engine:
        sample = RUNTIME.sample(engine.context.model, OnnxOptions(), "demo")
        assert sample.method == "GET"
        assert engine.client.get(sample.path).json()["inputs"][0]["shape"] == [-1, 3, 224, 224]


def test_name_with_slashes_is_served(tmp_path):
    launch = dataclasses.replace(context(tmp_path_graph(tmp_path), tmp_path / "work"), served_name="org/model ü")
    with serving(launch) as engine:
        engine.wait_ready()
        sample = RUNTIME.sample(launch.model, OnnxOptions(), launch.served_name)
        assert engine.post(sample.path, sample.body).json()["model_name"] == "org/model ü"


def test_probe_of_a_port_that_nobody_listens_on_may_become_ready(tmp_path):
    with pytest.raises(Failure) as caught:
        RUNTIME.probe(context(tmp_path_graph(tmp_path), tmp_path / "work"), 1)
    assert (caught.value.code, caught.value.permanent) == ("not_listening", False)


def test_probe_notices_another_process_on_the_port(pair):
    impostor = dataclasses.replace(pair.context, secret="another")
    with pytest.raises(Failure) as caught:
        RUNTIME.probe(impostor, 5)
    assert caught.value.code == "wrong_engine"


def test_probe_of_a_frozen_engine_fails_within_its_timeout(tmp_path):
    with running(tmp_path_graph(tmp_path), tmp_path / "work") as engine:
        psutil.Process(engine.process.pid).suspend()
        with pytest.raises(Failure) as caught:
            RUNTIME.probe(engine.context, 0.3)
    assert caught.value.code == "too_slow"


def test_probe_accepts_a_model_that_refuses_made_up_values(tmp_path):
    folder = graphs.strict(tmp_path / "model")
    with running(folder, tmp_path / "work") as engine:
        request = RUNTIME.sample(engine.context.model, OnnxOptions(), "demo")
        assert engine.post(request.path, request.body).status_code == 400
        assert engine.infer({"name": "row", "datatype": "INT64", "shape": [1], "data": [0]}).status_code == 200


def test_engine_writes_nothing_but_its_log(tmp_path):
    folder = tmp_path_graph(tmp_path)
    with running(folder, tmp_path / "work") as engine:
        assert engine.client.get("/v2/health/ready").status_code == 200
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["log"]


def test_reference_page_names_every_option_and_every_exit_status():
    page = (Path(__file__).parents[3] / "docs/reference/runtimes/onnx.md").read_text()
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("|")]
    listed = {(first.strip(), second.strip()) for first, second, *_ in (row for row in rows if len(row) == 3)}
    for name, field in OnnxOptions.model_fields.items():
        assert (f"`{name}`", str(field.default)) in listed
    for status in Exit:
        assert (str(int(status)), f"`{status.code}`") in listed
