"""How engines end: asked to or not, with everything they started, and nobody else."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from modelyard import ids
from modelyard.launchers import local
from modelyard.launchers.local import LocalLauncher, stop_all
from modelyard.launchers.records import Folder
from tests.launchers.engines import (
    FAMILY,
    SLEEP,
    STUBBORN,
    exited,
    printed,
    processes_of,
    running,
    shim_of,
    start,
    state_of,
    until,
    wait,
)

pytestmark = pytest.mark.system


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


def test_a_killed_shim_takes_the_engine_with_it_and_is_seen_as_lost(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    pid = until(launcher, replica, running).pid or 0
    shim_of(launcher, replica).kill()
    seen = until(launcher, replica, exited)
    assert (seen.lost, seen.requested) == (True, False)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert not psutil.pid_exists(pid)


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


def test_stop_all_ends_every_engine(launcher: LocalLauncher) -> None:
    replicas = [start(launcher, SLEEP) for _ in range(3)]
    for replica in replicas:
        until(launcher, replica, running)
    assert stop_all(launcher.root, patience=5) == 3
    assert all(launcher.observe(replica).requested for replica in replicas)


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


def test_a_first_sigterm_that_is_lost_is_sent_again(launcher: LocalLauncher) -> None:
    code = "import signal as s\ndef first(*_):\n s.signal(s.SIGTERM, lambda *_: exit(7))\ns.signal(s.SIGTERM, first)\n"
    replica = start(launcher, code + SLEEP, stop_seconds=60)
    printed(launcher, replica, "up")
    launcher.stop(replica)
    assert until(launcher, replica, exited).exit_code == 7


def test_everything_the_engine_started_ends_with_it(launcher: LocalLauncher) -> None:
    replica = start(launcher, FAMILY)
    printed(launcher, replica, "daemon up")
    family = shim_of(launcher, replica).children(recursive=True)
    os.kill(launcher.observe(replica).pid or 0, signal.SIGKILL)
    until(launcher, replica, exited)
    assert len(family) >= 3
    assert not [process for process in family if process.is_running()]


def test_what_a_killed_engine_left_in_sessions_of_its_own_ends_without_its_owner(launcher: LocalLauncher) -> None:
    replica = start(launcher, FAMILY)
    printed(launcher, replica, "daemon up")
    until(launcher, replica, running)
    shim_of(launcher, replica).kill()
    assert until(launcher, replica, exited).lost
    wait(lambda: not processes_of(launcher), "the daemon is left")


def test_a_stop_ends_what_is_left_without_its_owner(launcher: LocalLauncher) -> None:
    replica = start(launcher, FAMILY)
    printed(launcher, replica, "daemon up")
    until(launcher, replica, running)
    shim = shim_of(launcher, replica)
    shim.kill()
    wait(lambda: not psutil.pid_exists(shim.pid) or shim.status() == psutil.STATUS_ZOMBIE)
    launcher.stop(replica)
    wait(lambda: not processes_of(launcher), "the daemon is left")


def test_a_strangers_session_of_the_same_number_is_left_alone(launcher: LocalLauncher) -> None:
    replica = start(launcher, "pass")
    until(launcher, replica, exited)
    # A leader that has gone, as a shell does, and leaves a job in its session.
    command = [sys.executable, "-c", f"import os\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True)\n{SLEEP}"]
    leader = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert leader.stdout
    job = psutil.Process(int(leader.stdout.readline()))
    leader.wait()
    state = state_of(launcher, replica)
    state.pid, state.ended_at = leader.pid, None
    Folder(launcher.root / replica).write_state(state)
    assert launcher.observe(replica).lost
    assert job.is_running()
    job.kill()
    leader.stdout.close()


def test_a_start_that_is_late_ends_with_all_the_others(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = late_start(launcher, monkeypatch)
    stop_all(launcher.root, patience=0)
    local._spawn_shim(launcher.root / replica, 1)
    seen = until(launcher, replica, exited)
    assert (seen.requested, seen.pid) == (True, None)


def test_a_start_that_is_late_gives_way_to_the_next(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = late_start(launcher, monkeypatch)
    start(launcher, SLEEP, 2, replica)
    local._spawn_shim(launcher.root / replica, 1)
    wait(lambda: (state := Folder(launcher.root / replica).state(1)) and state.ended_at)
    assert state_of(launcher, replica).pid is None
    assert until(launcher, replica, running).number == 2


def late_start(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> str:
    """A launch that was recorded a while ago, and whose shim didn't come up yet."""
    replica = ids.replica()
    with monkeypatch.context() as patched:
        patched.setattr("modelyard.launchers.local._spawn_shim", lambda *_: None)
        start(launcher, SLEEP, replica=replica)
    record, a_while_ago = Folder(launcher.root / replica).launch(1), time.time() - 60
    os.utime(record, (a_while_ago, a_while_ago))
    assert launcher.observe(replica).state == "absent"
    return replica
