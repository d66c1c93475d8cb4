import signal
import stat
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cli.conftest import Start, answers, command_of, gone, kill, processes_of, run
from tests.cli.echo import Stream, chat, deploy, status

pytestmark = [pytest.mark.system]


def named(data: Path, words: str) -> list[psutil.Process]:
    return [process for process in processes_of(data) if words in command_of(process)]


def eventually(true: object, limit: float = 30) -> None:
    end = time.monotonic() + limit
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.1)


def test_it_answers_and_ctrl_c_leaves_no_process(data: Path, up: Start) -> None:
    yard = up()
    address = yard.ready()
    assert answers(address)
    assert httpx.get(f"{address}/admin/login/").status_code == 200
    assert yard.end() == 0
    assert gone(data)
    assert "Traceback" not in yard.text
    assert "\x1b[" not in yard.text


def test_the_password_is_shown_on_the_first_run_only(data: Path, up: Start) -> None:
    first = up()
    first.ready()
    password = first.wait_for(r"Login: admin / (\S+)").group(1)
    first.end()
    second = up()
    second.ready()
    assert "changepassword admin" in second.wait_for("Forgotten").string
    assert password not in second.text
    assert stat.S_IMODE((data / "secret_key").stat().st_mode) == 0o600


def test_it_is_ready_to_work_soon_after_it_says_so(up: Start) -> None:
    address = up().ready()
    eventually(lambda: httpx.get(f"{address}/readyz").status_code == 200)
    assert httpx.get(f"{address}/readyz").json() == {"ready": True, "database": "ok", "redis": "ok", "workers": "ok"}


def test_a_second_one_on_the_same_directory_says_who_runs(data: Path, up: Start) -> None:
    first = up()
    address = first.ready()
    second = run("up", data=data)
    assert second.returncode == 1
    assert f"process {first.process.pid}" in second.stdout
    assert answers(address)


def test_what_it_started_ends_with_it_even_when_it_is_killed(data: Path, up: Start) -> None:
    yard = up()
    yard.ready()
    yard.process.kill()
    assert gone(data)


def test_the_next_run_ends_what_a_killed_one_left_behind(data: Path, up: Start) -> None:
    first = up()
    first.ready()
    beat = named(data, "modelyard.cli beat")[0]
    beat.suspend()  # it can't end by itself
    kill(process for process in processes_of(data) if process.pid != beat.pid)
    second = up()
    second.wait_for(r"Ended 1 process")
    assert not beat.is_running() or beat.status() == psutil.STATUS_ZOMBIE
    assert answers(second.ready())
    assert len(named(data, "modelyard.cli beat")) == 1


def test_a_web_process_that_dies_is_started_again_and_calls_wait_for_it(data: Path, up: Start) -> None:
    yard = up()
    address = yard.ready()
    (web,) = named(data, "modelyard.cli web")
    web.kill()
    assert httpx.get(f"{address}/healthz", timeout=30).status_code == 200
    yard.wait_for(r"web ended by signal SIGKILL and is started again")


def test_when_valkey_dies_workers_go_on_with_the_next_one(data: Path, up: Start) -> None:
    import redis

    yard = up()
    yard.ready()
    (valkey,) = named(data, "valkey-server")
    valkey.kill()
    yard.wait_for(r"valkey ended by signal SIGKILL")
    client = redis.Redis(unix_socket_path=str(data / "run" / "valkey.sock"))

    def asked() -> bool:
        try:
            return not client.exists(":1:modelyard:worker") or bool(client.delete(":1:modelyard:worker"))
        except redis.ConnectionError:
            return False

    eventually(asked)
    eventually(lambda: client.exists(":1:modelyard:worker"), 40)
    client.close()


def test_a_restart_refuses_no_call_and_cuts_no_stream(data: Path, up: Start) -> None:
    yard = up()
    address = yard.ready()
    deployment, key = deploy(data)
    before = {process.pid for process in named(data, "modelyard.cli w")}
    stream = Stream(f"{address}/d/{deployment}/v1/chat/completions", key, words=160)
    assert stream.begun.wait(20)
    yard.signal(signal.SIGHUP)
    while not any("were restarted" in line for line in yard.lines):
        assert answers(address)
    stream.join(60)
    assert stream.error is None
    assert stream.words == stream.text.split()
    eventually(lambda: not before & {process.pid for process in named(data, "modelyard.cli w")})


def test_after_everything_was_killed_deployments_come_back_and_nothing_is_left(data: Path, up: Start) -> None:
    first = up()
    first.ready()
    deployment, key = deploy(data)
    kill(processes_of(data))
    second = up()
    address = second.ready()
    assert chat(f"{address}/d/{deployment}/v1/chat/completions", key) == "hello again"
    eventually(lambda: status(data) == "deployed")
    assert len(named(data, "engine.py")) == 1
    assert second.end() == 0
    assert gone(data)


def test_engines_outlive_a_killed_up_and_are_adopted(data: Path, up: Start) -> None:
    first = up()
    first.ready()
    deployment, key = deploy(data)
    (engine,) = named(data, "engine.py")
    first.process.kill()
    eventually(lambda: not named(data, "modelyard.cli"))
    address = up().ready()
    assert chat(f"{address}/d/{deployment}/v1/chat/completions", key) == "hello again"
    assert [process.pid for process in named(data, "engine.py")] == [engine.pid]


def test_a_second_ctrl_c_ends_it_at_once(data: Path, up: Start) -> None:
    yard = up()
    yard.ready()
    (worker,) = named(data, "-Q control")
    worker.suspend()  # it would take its ten seconds
    yard.signal(signal.SIGINT)
    yard.wait_for("Ending")
    yard.signal(signal.SIGINT)
    assert yard.process.wait(30) == 0
    assert gone(data)


def test_a_directory_with_signs_in_its_name_works(data: Path, up: Start) -> None:
    yard = up(MODELYARD_DATA_DIR=str(data / "a b#c%41?"))
    assert answers(yard.ready())
    assert yard.end() == 0
    assert sorted(path.name for path in data.iterdir()) == ["a b#c%41?"]
    assert (data / "a b#c%41?" / "modelyard.sqlite3").exists()


def test_nobody_else_may_read_what_it_writes(data: Path, up: Start) -> None:
    up().ready()
    names = ("secret_key", "run/valkey.sock", "logs", "run", "models")
    assert not [name for name in names if (data / name).stat().st_mode & 0o077]
    assert not data.stat().st_mode & 0o077
