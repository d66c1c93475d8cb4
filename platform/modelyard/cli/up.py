"""`modelyard up`: everything as one supervised group, from an empty directory to an answering address."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from modelyard import __version__, environment
from modelyard.cli import migration, output, setup
from modelyard.cli.children import Child, until
from modelyard.cli.output import Stop

START_SECONDS = 120
GRACE_SECONDS = 10  # that each process has to end after Ctrl-C
HURRY_SECONDS = 3  # that web processes then have to cut what they still answer and to write it down
QUICK = 5.0  # seconds; a process that ran for less has failed
COMMAND = [sys.executable, "-m", "modelyard.cli"]
SERVICES = {
    "web": ["web"],
    "worker": ["worker", "-Q", "control", "-c", "8"],
    "importer": ["worker", "-Q", "imports", "-c", "4"],
    "beat": ["beat"],
}


def run(*, demo: bool, verbose: bool) -> int:
    """Until Ctrl-C; the exit code."""
    try:
        return Group(demo=demo, verbose=verbose).run()
    except Stop as stop:
        output.fail(str(stop))
    except OSError as error:
        output.fail(_disk_trouble(error))
    return 1


def _disk_trouble(error: OSError) -> str:
    where = str(error.filename or environment.data_directory())
    if error.errno == errno.ENOSPC:
        return f"The disk of {where} is full: free some space and start again."
    return f"{error.strerror or error} ({where}): mend that and start again."


class Group:
    """The supervisor and its processes."""

    def __init__(self, *, demo: bool, verbose: bool) -> None:
        self.demo = demo
        self.verbose = verbose
        self.data = environment.directory(".")
        self.run_dir = environment.directory("run")
        self.logs = environment.directory("logs")
        self.host = environment.text("HOST", "127.0.0.1")
        self.port = environment.number("PORT", 8000)
        self.children: list[Child] = []
        self.leaving: list[Child] = []
        self.fetch: Child | None = None
        self.demo_process: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()
        self.impatient = False
        self.interruptible = False  # in a migration, which may wait long for what holds a lock
        self.renew = threading.Event()
        self.serving = False
        self.login = ""
        self.untold = False  # a password that was made just now and that nobody has seen yet
        self.listener: socket.socket | None = None
        self.in_terminal = _has_terminal()

    @property
    def address(self) -> str:
        """Where people on this machine reach it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 (compared, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self) -> int:
        """Set up, start, supervise, end."""
        signal.signal(signal.SIGINT, self._asked)
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGHUP, self._hung_up)
        with setup.take_lock(self.run_dir):
            self.listener = setup.listen(self.host, self.port)
            self.port = self.listener.getsockname()[1]
            try:
                self._start()
                self._supervise()
                return 0
            finally:
                self._end()

    # --- the start -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        began = time.monotonic()
        output.note(f"Modelyard {__version__}, data in {self.data}")
        left = setup.end_leftovers(self.run_dir)
        if left:
            output.note(f"Ended {left} process(es) that a killed run had left behind.")
        setup.prepare_django()
        setup.check_settings()
        self._prefetch()
        self._start_valkey()
        if not self._migrate():
            return
        person, password = setup.first_person()
        self.login, self.untold = (f"{person} / {password}", True) if password else (person, False)
        self._start_services()
        if not self.stopping.is_set():
            self._announce(began)

    def _prefetch(self) -> None:
        """Fetch the demo model while the rest starts; the demo says it if that failed."""
        if self.demo:
            self.fetch = Child("demo-fetch", [*COMMAND, "demo", "--fetch-only"], self.logs, echo=self.verbose)
            self.fetch.start()

    def _migrate(self) -> bool:
        """False if the end was asked for meanwhile."""
        from django.conf import settings

        started = time.monotonic()
        try:
            self.interruptible = True
            if self.stopping.is_set():
                return False
            setup.migrate()
            self.interruptible = False
        except KeyboardInterrupt:
            output.warn(migration.INTERRUPTED)
            return False
        finally:
            self.interruptible = False
        output.step(f"Database: {settings.DATABASES['default']['ENGINE'].rpartition('.')[2]}, up to date", started)
        return True

    def _start_services(self) -> None:
        started = time.monotonic()
        new = []
        for name, words in SERVICES.items():
            extra = ["--fd", str(self._fd())] if name == "web" else []
            new.append(Child(name, [*COMMAND, *words, *extra], self.logs, echo=self.verbose))
            self._add(new[-1])
        self._await_ready(new)
        if not self.stopping.is_set():
            self.serving = True
            output.step("Web, worker, importer and beat run", started)

    def _await_ready(self, children: Sequence[Child]) -> None:
        """Until all do their work, or a stop is asked for. Stop, with its last words, if one doesn't get that far."""

        def settled() -> bool:
            return self.stopping.is_set() or any(not c.ready.is_set() and c.ended() is not None for c in children)

        until(lambda: settled() or all(child.ready.is_set() for child in children), START_SECONDS)
        if self.stopping.is_set():
            return
        waiting = [child for child in children if not child.ready.is_set()]
        for child in waiting:
            if child.ended() is not None:
                child.wait_for_log()
                raise Stop(f"{child.name} ended at its start: {child.last_words()} Its log: {child.log.path}")
        for child in waiting:
            raise Stop(f"{child.name} isn't ready after {START_SECONDS} s. Its log: {child.log.path}")

    def _announce(self, began: float) -> None:
        output.step(f"Modelyard is ready at {self.address}/admin/", began)
        output.note(f"Logs in {self.logs}. Ctrl-C ends everything, engines included.")
        if not self.untold:
            forgotten = setup.command_line(f"changepassword {self.login}")
            output.note(f"Forgotten the password of {self.login}? {forgotten}")
        if self.demo:
            self._start_demo()
        elif self.untold:
            self._tell_login()

    def _tell_login(self) -> None:
        output.note(f"Login: {self.login} (shown this once)")
        self.untold = False

    def _start_demo(self) -> None:
        env = {**os.environ, "MODELYARD_DEMO_LOGIN": self.login, "MODELYARD_SUPERVISOR": str(os.getpid())}
        command = [*COMMAND, "demo", "--base-url", self.address]
        self.demo_process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)

    def _start_valkey(self) -> None:
        import redis
        from django.conf import settings

        from modelyard.cli import valkey

        started = time.monotonic()
        if environment.text("REDIS_URL"):
            try:
                answers = valkey.answers()
            except (redis.RedisError, ValueError) as error:
                raise Stop(f"Redis refuses: {error}: check the password in MODELYARD_REDIS_URL.") from None
            if not answers:
                where = _without_password(settings.REDIS_URL)
                raise Stop(f"Redis doesn't answer at {where}: start it, or check MODELYARD_REDIS_URL.")
            output.step("Redis answers", started)
            return
        child = valkey.child(self.logs)
        self._add(child)
        valkey.await_answer(child)
        output.step("Valkey runs (broker, cache, limits)", started)

    def _fd(self) -> int:
        return self.listener.fileno() if self.listener else -1

    def _add(self, child: Child) -> None:
        self.children.append(child)
        self._launch(child)

    def _launch(self, child: Child) -> None:
        child.start([self._fd()] if child.name == "web" else [])
        self._remember()

    def _remember(self) -> None:
        setup.remember(self.run_dir, [each.pid for each in [*self.children, *self.leaving] if each.pid])

    # --- signals -------------------------------------------------------------------------------------------------

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.impatient = self.stopping.is_set()
        self.stopping.set()
        if self.interruptible:
            self.interruptible = False
            raise KeyboardInterrupt

    def _hung_up(self, _number: int, _frame: FrameType | None) -> None:
        """An operator asks for a restart; or the terminal was closed, which means the end."""
        closed = self.in_terminal and not _has_terminal()
        (self.stopping if closed else self.renew).set()

    # --- while it runs -------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self.stopping.wait(0.2):
            if self.renew.is_set():
                self.renew.clear()
                self._renew()
            self._look_after_all()

    def _look_after_all(self) -> None:
        for child in self.children:
            self._look_after(child)
        self.leaving = [child for child in self.leaving if child.ended() is None]
        self._watch_demo()

    def _watch_demo(self) -> None:
        """The demo ends with the login; if it fails, it hasn't been told yet."""
        code = self.demo_process.poll() if self.demo_process else None
        if code is None:
            return
        self.demo_process = None
        if code and self.untold:
            self._tell_login()
        self.untold = False

    def _look_after(self, child: Child) -> None:
        code = child.ended()
        if code is None:
            return
        if child.restart_at is None:
            self._plan_restart(child, code)
        elif time.monotonic() >= child.restart_at:
            self._launch(child)

    def _plan_restart(self, child: Child, code: int) -> None:
        quick = time.monotonic() - child.started_at < QUICK
        child.failures = child.failures + 1 if quick else 0
        delay = min(2.0 ** (child.failures - 1), 30.0) if child.failures else 0.0
        child.restart_at = time.monotonic() + delay
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        when = f"in {delay:.0f} s" if delay else "now"
        child.wait_for_log()
        output.warn(f"{child.name} ended {how} and is started again {when}. Its last words: {child.last_words()}")

    def _renew(self) -> None:
        """SIGHUP: a new web process before the old one goes, which finishes its streams; then new workers and beat."""
        started = time.monotonic()
        output.note("Restarting web, workers and beat; requests go on.")
        old = self._child("web")
        new = Child("web", old.command, self.logs, echo=self.verbose)
        try:
            if not migration.anew(self.stopping, self._look_after_all):
                return
            new.start([self._fd()])
            self._await_ready([new])
        except Stop as stop:
            output.warn(f"What runs goes on, unchanged. {stop}")
            new.kill()
            return
        self.children[self.children.index(old)] = new
        self.leaving.append(old)
        old.ask_to_end()
        self._replace([self._child(name) for name in ("worker", "importer", "beat")])
        output.step("Web, worker, importer and beat were restarted", started)

    def _replace(self, children: Sequence[Child]) -> None:
        for child in children:
            child.ask_to_end()
        until(lambda: self.stopping.is_set() or all(c.ended() is not None for c in children), GRACE_SECONDS)
        for child in children:
            # What it was at is taken up again by the next one: tasks are idempotent.
            child.kill()
            child.wait(5)
            if not self.stopping.is_set():
                self._launch(child)

    def _child(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    # --- the end -------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Who starts things first, then engines, then Valkey, which everybody talks to until then."""
        self.stopping.set()
        self._watch_demo()
        if self.untold:
            self._tell_login()
        if self.serving:
            output.note("Ending web, workers and engines; again Ctrl-C: at once.")
        if self.demo_process:
            self.demo_process.kill()
            self.demo_process.wait()
        if self.fetch:
            self._end_all([self.fetch])
        self._end_all([child for child in [*self.children, *self.leaving] if child.name != "valkey"])
        if self.serving:
            self._end_engines()
        self._end_all([child for child in self.children if child.name == "valkey"])
        if self.listener:
            self.listener.close()
        with contextlib.suppress(OSError):
            (self.run_dir / "children.json").unlink(missing_ok=True)
        if self.serving:
            output.step("Everything has ended; the next start goes on from here")

    def _end_all(self, children: Sequence[Child]) -> None:
        for child in children:
            child.ask_to_end()
        until(lambda: self.impatient or all(child.ended() is not None for child in children), GRACE_SECONDS)
        web = [child for child in children if child.name.startswith("web") and child.ended() is None]
        for child in web:
            child.hurry()
        until(lambda: all(child.ended() is not None for child in web), HURRY_SECONDS)
        for child in children:
            child.kill()
        for child in children:
            child.wait(5)

    def _end_engines(self) -> None:
        from modelyard.launchers.local import stop_all

        ended = stop_all(Path(environment.directory("engines")), patience=0.0 if self.impatient else 30.0)
        if ended:
            output.step(f"{ended} engine{'s' if ended > 1 else ''} ended")


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
