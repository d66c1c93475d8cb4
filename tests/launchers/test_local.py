"""Engines as real processes: started once, seen as they are, owned by nobody who may go away."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from modelyard import ids
from modelyard.launchers import Launch
from modelyard.launchers.local import LocalLauncher
from tests.launchers.engines import SLEEP, exited, printed, processes_of, running, shim_of, start, until, wait

pytestmark = pytest.mark.system
linux = pytest.mark.skipif(sys.platform != "linux", reason="stands on what only Linux has")


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


def test_what_is_no_replica_is_refused(launcher: LocalLauncher) -> None:
    with pytest.raises(ValueError, match="no replica ID"):
        launcher.observe("../etc")


def test_a_damaged_record_reads_as_lost_and_can_be_removed(launcher: LocalLauncher) -> None:
    replica = start(launcher, "pass")
    until(launcher, replica, exited)
    (launcher.root / replica / "state-1.json").write_text("")
    assert launcher.observe(replica).lost
    launcher.stop(replica)
    launcher.remove(replica)
    assert launcher.known() == []


def starter(launcher: LocalLauncher, replica: str, code: str, then: str = "") -> list[str]:
    """A process of its own that starts this launch."""
    script = (
        "import os, sys; from pathlib import Path; from modelyard.launchers import Launch\n"
        "from modelyard.launchers.local import LocalLauncher\n"
        f"launch = Launch({replica!r}, 1, [sys.executable, '-c', {code!r}])\n"
        f"LocalLauncher(Path({str(launcher.root)!r})).start(launch)\n{then}"
    )
    return [sys.executable, "-c", script]


def test_an_engine_outlives_whoever_started_it(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    command = starter(launcher, replica, SLEEP, "os.kill(os.getpid(), 9)")
    assert subprocess.run(command, check=False).returncode == -9
    assert until(launcher, replica, running).pid


def test_processes_that_start_the_same_launch_at_once_start_one(launcher: LocalLauncher, tmp_path: Path) -> None:
    replica, starts = ids.replica(), tmp_path / "starts"
    code = f"open({str(starts)!r}, 'a').write('x'); {SLEEP}"
    starters = [subprocess.Popen(starter(launcher, replica, code)) for _ in range(4)]
    assert [process.wait() for process in starters] == [0, 0, 0, 0]
    printed(launcher, replica, "up")
    wait(lambda: len(processes_of(launcher)) == 2, "one shim and one engine")
    assert starts.read_text() == "x"


def test_a_start_whose_owner_died_at_once_is_taken_over(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("modelyard.launchers.local._spawn_shim", lambda *_: None)
        replica = start(launcher, SLEEP)
    assert launcher.observe(replica).state == "starting"
    start(launcher, SLEEP, replica=replica)
    assert until(launcher, replica, running).number == 1


def test_records_are_for_their_owner_only(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    launcher.workdir(replica)
    start(launcher, "pass", replica=replica, env={"KEY": "secret"})
    until(launcher, replica, exited)
    folder = launcher.root / replica
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes[replica] == modes["work"] == 0o700
    assert modes["launch-1.json"] == modes["state-1.json"] == modes["engine.log"] == 0o600


def test_the_owner_keeps_no_secret_of_the_platform(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_DATABASE_URL", "postgres://secret")
    replica = start(launcher, SLEEP)
    until(launcher, replica, running)
    assert not [name for name in shim_of(launcher, replica).environ() if name.startswith(("MODELYARD", "DJANGO"))]


def test_an_engine_starts_with_the_usual_signals(launcher: LocalLauncher) -> None:
    replica = start(launcher, "import signal as s; print([s.getsignal(n) for n in (s.SIGHUP, s.SIGINT, s.SIGTERM)])")
    until(launcher, replica, exited)
    line = next(line for line in launcher.log_tail(replica) if line.startswith("["))
    assert "SIG_IGN" not in line


def test_what_a_terminal_sends_ends_no_engine(launcher: LocalLauncher) -> None:
    replica = start(launcher, SLEEP)
    until(launcher, replica, running)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(shim_of(launcher, replica).pid, number)
    launcher.stop(replica)
    assert until(launcher, replica, exited).exit_code == -15


@linux
def test_adopted_children_that_ended_are_collected_while_the_engine_runs(launcher: LocalLauncher) -> None:
    code = "import os\nif os.fork() == 0:\n if os.fork(): os._exit(0)\n os._exit(0)\nos.wait()\n"
    replica = start(launcher, code + SLEEP)
    printed(launcher, replica, "up")
    engine = launcher.observe(replica).pid
    wait(lambda: [child.pid for child in shim_of(launcher, replica).children()] == [engine], "a zombie is left")
    assert psutil.pid_exists(engine or 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_log_neither_blocks_nor_ends_the_engine(launcher: LocalLauncher) -> None:
    replica = ids.replica()
    launcher.workdir(replica)
    (launcher.root / replica / "engine.log").symlink_to("/dev/full")
    start(launcher, "print('x' * 1_000_000, flush=True); raise SystemExit(4)", replica=replica)
    assert until(launcher, replica, exited).exit_code == 4
