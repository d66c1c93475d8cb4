"""TGI's processes from start to end, with the stand-in launcher that gives each of them a group of its own."""

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from modelyard.runtimes import Failure
from modelyard.runtimes.testing import Engine
from runtimes.tgi import TgiRuntime
from tests.runtimes.tgi.models import served

RUNTIME = TgiRuntime()


def engine(folder: Path, *faults: str, chat: bool = True, **options: Any) -> Engine:
    model = served(folder / "model", *faults, chat=chat)
    return Engine(RUNTIME, model, {"graceful_seconds": 3, **options}, folder / "engines")


def death(folder: Path, *faults: str, **options: Any) -> Failure:
    with engine(folder, *faults, **options) as started:
        started.start().gone(60)
        return started.death()


def test_router_and_shards_have_groups_of_their_own(tmp_path: Path) -> None:
    with engine(tmp_path, num_shard=2) as started:
        started.start().ready()
        assert len({os.getpgid(process.pid) for process in started.left()}) == 4


def test_shards_end_with_a_launcher_that_is_told_to_stop(tmp_path: Path) -> None:
    with engine(tmp_path, num_shard=2) as started:
        seen = started.start().ready().stop()
    assert (seen.requested, seen.exit_code) == (True, 0)


def test_nothing_outlives_a_killed_launcher(tmp_path: Path) -> None:
    with engine(tmp_path, num_shard=2) as started:
        seen = started.start().ready().kill()
        assert (seen.requested, seen.exit_code) == (False, -9)
        assert not started.left()


def test_nothing_outlives_a_killed_shim(tmp_path: Path) -> None:
    with engine(tmp_path, num_shard=2) as started:
        started.start().ready()
        processes = started.left()
        launcher = next(process for process in processes if process.pid == started.observation.pid)
        os.kill(launcher.ppid(), signal.SIGKILL)
        assert started.gone(20).lost
        assert not [process for process in processes if process.is_running()]


def test_a_router_that_does_not_end_is_killed_by_the_launcher(tmp_path: Path) -> None:
    with engine(tmp_path, "stubborn-router", graceful_seconds=1) as started:
        seen = started.start().ready().stop()
    assert seen.exit_code == 0


def test_a_running_answer_is_finished_before_the_end(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        body = {"inputs": "count", "parameters": {"max_new_tokens": 100, "details": True}}
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(started.ask("/generate", body)))
        asking.start()
        started.wait(lambda: b"tgi_request_count 2" in started.client.get("/metrics").content, 10)
        started.stop()
        asking.join(20)
    assert answers[0].json()["details"]["generated_tokens"] == 100


def test_two_launchers_share_no_port_and_no_socket(tmp_path: Path) -> None:
    with engine(tmp_path / "one", num_shard=2) as one, engine(tmp_path / "two", num_shard=2) as two:
        one.start()
        two.start()
        assert one.ready().answers()
        assert two.ready().answers()


def test_a_long_path_leaves_room_for_sockets(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with engine(folder) as started:
        started.start().ready()
        assert (started.context.workdir / "shard-0").is_socket()
        assert started.stop().exit_code == 0


def test_streams_of_its_own_protocol_count_their_tokens(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        body = {"inputs": "a small cat", "parameters": {"max_new_tokens": 5}}
        answer = started.ask("/generate_stream", body)
    events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
    usage = RUNTIME.usage("/generate_stream", events[-1])
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 5)


def test_a_model_without_chat_template_completes_texts(tmp_path: Path) -> None:
    with engine(tmp_path, chat=False) as started:
        assert started.start().ready().answers()
        assert started.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}).status_code == 422


def test_an_engine_that_is_busy_may_answer_later(tmp_path: Path) -> None:
    with engine(tmp_path, max_concurrent_requests=1) as started:
        started.start().ready()
        body = {"inputs": "count", "parameters": {"max_new_tokens": 1500}}
        with started.client.stream("POST", "/generate_stream", json=body) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()  # closes the stream when it is let go
            next(lines)
            with pytest.raises(Failure) as caught:
                RUNTIME.probe(started.context, 10)
    assert caught.value.code == "busy"
    assert "429" in caught.value.message
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("fault", "code", "permanent"),
    [
        ("fail-download", "model_incomplete", True),
        ("fail-oom", "gpu_out_of_memory", True),
        ("kill-shard", "out_of_memory", False),
        ("crash-later", "shard_died", False),
    ],
)
def test_a_death_is_explained(tmp_path: Path, fault: str, code: str, permanent: bool) -> None:
    failure = death(tmp_path, fault)
    assert (failure.code, failure.permanent) == (code, permanent)


def test_arguments_that_this_tgi_lacks_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_TGI_COMMAND", f"{os.environ['MODELYARD_TGI_COMMAND']} --future-flag")
    failure = death(tmp_path)
    assert (failure.code, failure.permanent) == ("bad_argument", True)
    assert "--future-flag" in failure.message


def test_a_refused_combination_is_explained(tmp_path: Path) -> None:
    failure = death(tmp_path, max_input_tokens=4000)  # this TGI's own context is 2048
    assert (failure.code, failure.permanent) == ("bad_options", True)
    assert "max_total_tokens" in failure.message


def test_a_taken_port_of_the_metrics_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        taken = thief.getsockname()[1]
        monkeypatch.setattr("runtimes.tgi.command.free_ports", lambda *_: [taken, taken])
        failure = death(tmp_path)
    assert (failure.code, failure.permanent) == ("port_in_use", False)


def test_each_launch_has_three_ports(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        argv = list(RUNTIME.command(started.context).argv)
    ports = [argv[argv.index(flag) + 1] for flag in ("--port", "--prometheus-port", "--master-port")]
    assert len(set(ports)) == 3


def test_the_key_is_in_no_argument_of_any_process(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        words = [word for process in started.left() for word in process.cmdline()]
    assert "text-generation-router" in " ".join(words)
    assert started.context.secret not in " ".join(words)


def test_the_key_that_arguments_show_opens_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as started:
        started.start().ready()
        shown = dict(RUNTIME.command(started.context).env)["API_KEY"]
        headers = {"Authorization": f"Bearer {shown}"}
        assert started.client.post("/generate", json={"inputs": "hi"}, headers=headers).status_code == 401
