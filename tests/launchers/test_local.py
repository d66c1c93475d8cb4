"""Engines as real processes: started once, seen as they are, ended for sure."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from modelyard import ids
from modelyard.launchers import Launch, NoFreePort, Observation, ports
from modelyard.launchers.local import LocalLauncher, stop_all
from modelyard.launchers.log import RotatingLog, tail
from modelyard.launchers.records import Folder

pytestmark = pytest.mark.system
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    time.sleep(600)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    found = LocalLauncher(tmp_path / "engines")
    yield found
    stop_all(found.root, patience=0)
    end = time.monotonic() + 5
    while left := [p for p in psutil.process_iter() if str(found.root) in " ".join(_words(p))]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def start(launcher: LocalLauncher, code: str, number: int = 1, replica: str = "", **more: object) -> str:
    replica = replica or ids.replica()
    launcher.start(Launch(replica, number, [sys.executable, "-c", code], **more))  # type: ignore[arg-type]
    return replica


def until(launcher: LocalLauncher, replica: str, true: Callable[[Observation], bool]) -> Observation:
    end = time.monotonic() + 15
    while not true(seen := launcher.observe(replica)):
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    return seen


def running(seen: Observation) -> bool:
    return seen.state == "running"


def exited(seen: Observation) -> bool:
    return seen.state == "exited"


def printed(launcher: LocalLauncher, replica: str, text: str) -> None:
    end = time.monotonic() + 15
    while not any(text in line for line in launcher.log_tail(replica)):
        assert time.monotonic() < end
        time.sleep(0.02)


def shim_of(launcher: LocalLauncher, replica: str) -> int:
    state = Folder(launcher.root / replica).state(1)
    assert state
    assert state.shim_pid
    return state.shim_pid


def test_what_was_never_started_is_absent(launcher: LocalLauncher) -> None:
    assert launcher.observe(ids.replica()).state == "absent"


def test_an_engine_runs_and_is_seen_with_its_memory(launcher: LocalLauncher) -> None:
    seen = until(launcher, start(launcher, SLEEP), running)
    assert seen.pid
    assert seen.memory
    assert seen.started_at


def test_it_is_nobodys_child(launcher: LocalLauncher) -> None:
    seen = until(launcher, start(launcher, SLEEP), running)
    assert seen.pid
    assert seen.pid not in {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_nobody_asked_for_is_no_requested_one(launcher: LocalLauncher, code: int) -> None:
    seen = until(launcher, start(launcher, f"raise SystemExit({code})"), exited)
    assert (seen.exit_code, seen.requested, seen.lost) == (code, False, False)


def test_a_program_that_is_not_there_says_so(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    launcher.start(Launch(replica, 1, ["/nowhere/engine"]))
    assert until(launcher, replica, exited).exit_code == 127
    assert any("can't start /nowhere/engine" in line for line in launcher.log_tail(replica))


def test_a_killed_engine_is_seen_with_its_signal(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    os.kill(until(launcher, replica, running).pid or 0, signal.SIGKILL)
    seen = until(launcher, replica, exited)
    assert (seen.exit_code, seen.requested) == (-9, False)


def test_a_stop_is_marked_as_asked_for(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    until(launcher, replica, running)
    launcher.stop(replica)
    seen = until(launcher, replica, exited)
    assert (seen.exit_code, seen.requested) == (-15, True)


def test_a_stubborn_engine_is_killed_after_its_patience(launcher: LocalLauncher) -> None:
    replica = start(launcher, STUBBORN, stop_seconds=0.5)
    printed(launcher, replica, "up")
    launcher.stop(replica)
    assert until(launcher, replica, exited).exit_code == -9


def test_stop_now_does_not_wait(launcher: LocalLauncher) -> None:
    replica = start(launcher, STUBBORN, stop_seconds=600)
    printed(launcher, replica, "up")
    launcher.stop(replica)
    launcher.stop(replica, now=True)
    assert until(launcher, replica, exited).requested


def test_a_stop_before_the_engine_runs_leaves_none(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    launcher.stop(replica)
    seen = until(launcher, replica, exited)
    assert seen.requested


def test_everything_the_engine_started_ends_with_it(launcher: LocalLauncher) -> None:
    replica = start(launcher, FAMILY)
    until(launcher, replica, running)
    end = time.monotonic() + 10
    while not [line for line in launcher.log_tail(replica) if line.isdecimal()]:
        assert time.monotonic() < end
    child = int(next(line for line in launcher.log_tail(replica) if line.isdecimal()))
    family = psutil.Process(shim_of(launcher, replica)).children(recursive=True)
    os.kill(launcher.observe(replica).pid or 0, signal.SIGKILL)
    until(launcher, replica, exited)
    assert not psutil.pid_exists(child)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_shim_takes_the_engine_with_it_and_is_seen_as_lost(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    pid = until(launcher, replica, running).pid or 0
    os.kill(shim_of(launcher, replica), signal.SIGKILL)
    seen = until(launcher, replica, exited)
    assert (seen.lost, seen.requested) == (True, False)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert not psutil.pid_exists(pid)


def test_an_engine_outlives_whoever_started_it(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    script = (
        "import os, sys; from pathlib import Path; from modelyard.launchers import Launch\n"
        "from modelyard.launchers.local import LocalLauncher\n"
        f"launch = Launch({replica!r}, 1, [sys.executable, '-c', {SLEEP!r}])\n"
        f"LocalLauncher(Path({str(launcher.root)!r})).start(launch)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert until(launcher, replica, running).pid


def test_starting_twice_starts_one(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    for _ in range(4):
        start(launcher, SLEEP, replica=replica)
    until(launcher, replica, running)
    time.sleep(0.5)
    found = [p for p in psutil.process_iter() if str(launcher.root) in " ".join(_words(p))]
    assert len(found) == 1


def test_a_next_launch_ends_the_one_before(launcher: LocalLauncher) -> None:
    replica = start(launcher, STUBBORN)
    first = until(launcher, replica, running).pid or 0
    start(launcher, SLEEP, 2, replica)
    second = until(launcher, replica, lambda seen: running(seen) and seen.number == 2).pid
    assert second != first
    assert not psutil.pid_exists(first)


def test_a_stranger_with_the_same_pid_is_left_alone(launcher: LocalLauncher) -> None:
    replica = start(launcher, "pass")
    until(launcher, replica, exited)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
    folder = Folder(launcher.root / replica)
    state = folder.state(1)
    assert state
    state.shim_pid = state.pid = stranger.pid
    state.shim_start = state.start = 10.0**12
    state.ended_at = None
    folder.write_state(state)
    assert launcher.observe(replica).state == "exited"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_an_engine_sees_nothing_of_the_platform(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    replica = start(launcher, "import os; print(sorted(os.environ))", env={"OWN": "1"})
    until(launcher, replica, exited)
    line = next(line for line in launcher.log_tail(replica) if line.startswith("["))
    assert "OWN" in line
    assert "MODELYARD" not in line
    assert "AWS" not in line


def test_a_running_one_is_not_removed_and_an_ended_one_is(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    until(launcher, replica, running)
    launcher.remove(replica)
    assert replica in launcher.known()
    launcher.stop(replica, now=True)
    until(launcher, replica, exited)
    launcher.remove(replica)
    assert launcher.known() == []


def test_stop_all_ends_every_engine(launcher: LocalLauncher) -> None:
    replicas = [start(launcher, SLEEP) for _ in range(3)]
    for replica in replicas:
        until(launcher, replica, running)
    assert stop_all(launcher.root, patience=5) == 3
    assert all(launcher.observe(replica).requested for replica in replicas)


def test_what_is_no_replica_is_refused(launcher: LocalLauncher) -> None:
    with pytest.raises(ValueError, match="no replica ID"):
        launcher.observe("../etc")


def test_the_log_is_rotated_and_read_over_its_parts(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "engine.log", size=1000)
    for number in range(100):
        log.write(f"line {number:04}\n".encode())
    assert tail(tmp_path / "engine.log", 3) == ["line 0097", "line 0098", "line 0099"]
    assert len(tail(tmp_path / "engine.log", 150)) > 90
    assert len(list(tmp_path.iterdir())) <= 3


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "missing" / "engine.log")
    log.write(b"lost\n")
    (tmp_path / "missing").mkdir()
    log.write(b"kept\n")
    assert tail(tmp_path / "missing" / "engine.log", 5) == ["kept"]


@pytest.mark.parametrize("text", ["", "a-b", "0-10", "10-5", "1-70000"])
def test_a_range_that_makes_no_sense_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="MODELYARD_ENGINE_PORTS"):
        ports.parse(text)


def test_a_port_is_free_and_not_given_twice() -> None:
    first = ports.pick("40000-40010", [])
    assert ports.pick("40000-40010", [port for port in range(40000, 40011) if port != first]) == first
    with pytest.raises(NoFreePort):
        ports.pick("40000-40010", list(range(40000, 40011)))


def test_a_damaged_record_reads_as_lost_and_can_be_removed(launcher: LocalLauncher) -> None:
    replica = start(launcher, "pass")
    until(launcher, replica, exited)
    (launcher.root / replica / "state-1.json").write_text("")
    assert launcher.observe(replica).lost
    launcher.stop(replica)
    launcher.remove(replica)
    assert launcher.known() == []


def test_pids_of_an_earlier_boot_are_left_alone(launcher: LocalLauncher) -> None:
    replica = start(launcher, "pass")
    until(launcher, replica, exited)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
    folder = Folder(launcher.root / replica)
    state = folder.state(1)
    assert state
    state.pid, state.start, state.ended_at, state.epoch = stranger.pid, 0.0, None, "an earlier boot"
    folder.write_state(state)
    assert launcher.observe(replica).lost
    start(launcher, "pass", 2, replica)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
