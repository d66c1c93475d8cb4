"""Engines that can't start: the plug names the cause from the real exit status and the real log."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig

import pytest

from runtimes.onnx import OnnxRuntime
from runtimes.onnx.engine.exits import Exit
from runtimes.onnx.failures import CAUSES
from runtimes.onnx.interpreter import ENGINE
from tests.runtimes.onnx import graphs
from tests.runtimes.onnx.engines import RUNTIME, context, free_port, running, starting


def broken(name, folder):
    """A model's folder with that fault."""
    if name == "cut_off":
        graphs.identity(folder, "FP32")
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-9])
    elif name == "not_onnx":
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"hello world" * 20)
    elif name == "empty":
        folder.mkdir()
        (folder / "model.onnx").touch()
    elif name == "short_weights":
        graphs.external_weights(folder, "w.bin")
        (folder / "w.bin").write_bytes(b"1234")
    return folder


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda folder: broken("cut_off", folder), Exit.GRAPH_INVALID),
        (lambda folder: broken("not_onnx", folder), Exit.GRAPH_INVALID),
        (lambda folder: broken("empty", folder), Exit.GRAPH_INVALID),
        (graphs.unknown_operator, Exit.GRAPH_UNSUPPORTED),
        (graphs.future_opset, Exit.GRAPH_UNSUPPORTED),
        (lambda folder: graphs.external_weights(folder, "w.bin"), Exit.EXTERNAL_DATA_MISSING),
        (lambda folder: graphs.external_weights(folder, "../w.bin"), Exit.EXTERNAL_DATA_MISSING),
        (lambda folder: broken("short_weights", folder), Exit.EXTERNAL_DATA_MISSING),
    ],
    ids=["cut_off", "not_onnx", "empty", "operator", "opset", "no_weights", "weights_outside", "short_weights"],
)
def test_graph_that_cannot_be_loaded_is_explained(tmp_path, make, status):
    with starting(make(tmp_path / "model"), tmp_path / "work") as engine:
        failure = engine.failure()
        assert engine.process.returncode == status
    assert (failure.code, failure.permanent) == (status.code, True)
    assert failure.next_step
    assert "\n" not in failure.message
    assert "onnxruntime_src" not in failure.message


def text_model(folder, **files):
    """A small text graph with the given files' content beside it."""
    graphs.sentence_graph(folder)
    for name, content in files.items():
        (folder / name.replace("_json", ".json")).write_text(content)
    return folder


def test_tokenizer_that_cannot_be_read_is_explained(tmp_path):
    with starting(text_model(tmp_path / "model", tokenizer_json='{"version": 1}'), tmp_path / "work") as engine:
        failure = engine.failure()
    assert (failure.code, failure.permanent) == ("tokenizer_invalid", True)


def test_embedding_step_outside_the_graph_is_not_left_out_silently(demo_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (folder / name).symlink_to(demo_model / name)
    (folder / "modules.json").write_text('[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]')
    with starting(folder, tmp_path / "work") as engine:
        failure = engine.failure()
    assert failure.code == "pooling_unsupported"
    assert "Dense" in failure.message


def test_taken_port_may_be_tried_again(tmp_path):
    folder = graphs.identity(tmp_path / "model", "FP32")
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, starting(folder, tmp_path / "work", port=taken.getsockname()[1]) as engine:
        failure = engine.failure()
    assert (failure.code, failure.permanent) == ("port_in_use", False)


def test_graph_that_vanished_after_the_command_was_made_is_explained(tmp_path):
    folder = graphs.identity(tmp_path / "model", "FP32")
    command = RUNTIME.command(context(folder, tmp_path / "work"))
    (folder / "model.onnx").unlink()
    done = subprocess.run(command.argv, env=dict(command.env), capture_output=True, text=True, check=False)
    assert RUNTIME.failure(done.returncode, done.stderr.splitlines()).code == "graph_missing"


@pytest.mark.parametrize(
    ("flags", "secret"), [(["--workers", "x"], "s"), (["--max-queue", "0"], "s"), (["--workers", "-1"], "s"), ([], "")]
)
def test_bad_options_are_named_in_one_line(tmp_path, flags, secret):
    folder = graphs.identity(tmp_path / "model", "FP32")
    base = ["--folder", str(folder), "--graph", str(folder / "model.onnx"), "--name", "m", "--port", str(free_port())]
    environment = {"MODELYARD_ENGINE_SECRET": secret}
    argv = [sys.executable, str(ENGINE), *base, *flags]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    failure = RUNTIME.failure(done.returncode, done.stderr.splitlines())
    assert (failure.code, failure.permanent) == ("bad_options", True)
    assert len(done.stderr.splitlines()) == 1


def test_interpreter_without_onnxruntime_is_explained(tmp_path):
    folder = graphs.identity(tmp_path / "model", "FP32")
    command = RUNTIME.command(context(folder, tmp_path / "work"))
    argv = [command.argv[0], "-I", "-S", *command.argv[1:]]
    done = subprocess.run(argv, env=dict(command.env), capture_output=True, text=True, check=False)
    failure = RUNTIME.failure(done.returncode, done.stderr.splitlines())
    assert (failure.code, failure.permanent) == ("missing_package", True)


def test_too_little_memory_is_told_apart_from_a_broken_model(demo_model, tmp_path):
    command = RUNTIME.command(context(demo_model, tmp_path / "work"))
    limited = f"ulimit -v 320000; exec {' '.join(command.argv)}"
    argv = ["sh", "-c", limited]
    done = subprocess.run(argv, env=dict(command.env), capture_output=True, text=True, check=False, timeout=60)
    failure = RUNTIME.failure(done.returncode, done.stderr.splitlines())
    assert failure.code == "out_of_memory", done.stderr
    assert not failure.permanent


@pytest.mark.parametrize(
    ("number", "code", "permanent"),
    [
        (signal.SIGKILL, "killed", False),
        (signal.SIGSEGV, "crashed", False),
        (signal.SIGILL, "illegal_instruction", True),
        (signal.SIGABRT, "killed_by_signal", False),
    ],
)
def test_signal_that_ended_an_engine_is_explained(tmp_path, number, code, permanent):
    with running(graphs.identity(tmp_path / "model", "FP32"), tmp_path / "work") as engine:
        os.kill(engine.process.pid, number)
        failure = engine.failure()
    assert (failure.code, failure.permanent) == (code, permanent)
    assert RUNTIME.failure(128 + number, []).code == code


@pytest.mark.parametrize(
    ("exit_code", "log", "code"),
    [
        (1, ["OSError: [Errno 28] No space left on device"], "disk_full"),
        (-signal.SIGABRT, ["terminate called after throwing an instance of 'std::bad_alloc'"], "out_of_memory"),
        (1, ["ImportError: libgomp.so.1: cannot open shared object file"], "missing_package"),
        (3, ["something new"], "unknown"),
        (3, [], "unknown"),
        (0, [], "exited"),
        (72, [], "port_in_use"),
    ],
)
def test_death_without_an_error_line_is_read_from_status_and_log(exit_code, log, code):
    failure = RUNTIME.failure(exit_code, log)
    assert failure.code == code
    assert failure.message
    assert failure.next_step


def test_every_exit_status_has_a_cause_and_a_next_step():
    assert set(CAUSES) == set(Exit)
    codes = {OnnxRuntime().failure(status, []).code for status in Exit}
    assert codes == {status.code for status in Exit}


def test_engine_runs_in_an_interpreter_without_modelyard(tmp_path, monkeypatch):
    bare = tmp_path / "python"
    packages = sysconfig.get_path("purelib")
    # without `site` the packages are there, and the .pth file that adds Modelyard's source isn't read
    bare.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    asked = subprocess.run([bare, "-c", "import modelyard"], capture_output=True, check=False, cwd=tmp_path)
    assert asked.returncode != 0
    monkeypatch.setenv("MODELYARD_ONNX_PYTHON", str(bare))
    with running(graphs.identity(tmp_path / "model", "FP32"), tmp_path / "work") as engine:
        assert engine.client.get("/v2").status_code == 200


def test_secret_is_neither_an_argument_nor_in_the_log(tmp_path):
    with running(graphs.identity(tmp_path / "model", "FP32"), tmp_path / "work") as engine:
        assert engine.context.secret not in " ".join(RUNTIME.command(engine.context).argv)
        assert engine.context.secret not in engine.log.read_text()
