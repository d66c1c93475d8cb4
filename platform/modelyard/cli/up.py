"""`modelyard up`: everything as one supervised group, from an empty directory to an answering address."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from modelyard import environment
from modelyard.cli import output, setup
from modelyard.cli.children import Child, until
from modelyard.cli.output import Stop

START_SECONDS = 60
GRACE_SECONDS = 10  # that each process has to end after Ctrl-C
QUICK = 5.0  # seconds; a process that ran for less has failed
HOPELESS = 5  # quick failures in a row of the web process
COMMAND = [sys.executable, "-m", "modelyard.cli"]


def run(*, demo: bool, verbose: bool) -> int:
    """Until Ctrl-C; the exit code."""
    try:
        return Group(demo=demo, verbose=verbose).run()
    except Stop as stop:
        output.fail(str(stop))
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        output.fail(f"{error.strerror or error}{where}: mend that and start again.")
    return 1


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
        self.stopping = threading.Event()
        self.impatient = False
        self.renew = threading.Event()
        self.listener: socket.socket | None = None

    @property
    def address(self) -> str:
        """Where people on this machine reach it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 (compared, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self) -> int:
        """Set up, start, supervise, end."""
        signal.signal(signal.SIGINT, self._asked)
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGHUP, lambda *_: self.renew.set())
        with setup.take_lock(self.run_dir):
            self.listener = setup.listen(self.host, self.port)
            self._prefetch()
            try:
                self._start()
                self._supervise()
                return 0
            finally:
                self._end()

    def _prefetch(self) -> None:
        """Fetch the demo model while the rest starts; the demo says it if that failed."""
        if self.demo:
            from modelyard.cli import demo_model

            threading.Thread(target=demo_model.prefetch, args=(self.data / "cache",), daemon=True).start()

    def _start(self) -> None:
        import django
        from django.conf import settings

        began = time.monotonic()
        django.setup()
        left = setup.end_leftovers(self.run_dir)
        if left:
            output.note(f"Ended {left} process(es) that a killed run had left behind.")
        self._start_valkey()
        started = time.monotonic()
        setup.migrate()
        output.step(f"Database: {settings.DATABASES['default']['ENGINE'].rpartition('.')[2]}, up to date", started)
        self.person, self.password = setup.first_person()
        started = time.monotonic()
        for name, words in (
            ("web", ["web", "--fd", str(self._fd())]),
            ("worker", ["worker", "-Q", "control", "-c", "8"]),
            ("importer", ["worker", "-Q", "imports", "-c", "2"]),
            ("beat", ["beat"]),
        ):
            self._add(Child(name, [*COMMAND, *words], self.logs, echo=self.verbose))
        web = self._child("web")
        if not until(lambda: web.ready.is_set() or web.ended() is not None or self.stopping.is_set(), START_SECONDS):
            raise Stop(f"The web process doesn't serve after {START_SECONDS} s; its log is {web.log.path}.")
        if web.ended() is not None:
            raise Stop(f"The web process ended: {' '.join(list(web.last_lines)[-1:])} Its log is {web.log.path}.")
        if self.stopping.is_set():
            return
        output.step("Web, worker, importer and beat run", started)
        self._announce(began)

    def _announce(self, began: float) -> None:
        output.step(f"Modelyard is ready at {self.address}/admin/", began)
        if self.password:
            output.note(f"Login: {self.person} / {self.password}   (shown this once; it isn't stored)")
        else:
            output.note(f"Login: {self.person}   (forgotten? modelyard changepassword {self.person})")
        output.note(f"Data: {self.data}   Logs: {self.logs}   Ctrl-C ends everything.")
        if self.demo:
            threading.Thread(target=self._run_demo, daemon=True).start()

    def _run_demo(self) -> None:
        login = f"{self.person} / {self.password}" if self.password else self.person
        env = {**os.environ, "MODELYARD_DEMO_LOGIN": login, "MODELYARD_SUPERVISOR": str(os.getpid())}
        import subprocess

        process = subprocess.Popen([*COMMAND, "demo", "--base-url", self.address], env=env, stdin=subprocess.DEVNULL,
                                   start_new_session=True)  # fmt: skip
        while process.poll() is None:
            if self.stopping.wait(0.1):
                process.terminate()
                process.wait()

    def _start_valkey(self) -> None:
        import redis
        from django.conf import settings

        from modelyard.cli import valkey

        started = time.monotonic()
        if environment.text("REDIS_URL"):
            try:
                answers = valkey.answers()
            except redis.RedisError as error:
                raise Stop(f"Redis refuses ({error}): check MODELYARD_REDIS_URL.") from None
            if not answers:
                raise Stop(
                    f"Redis doesn't answer at {_without_password(settings.REDIS_URL)}: check MODELYARD_REDIS_URL."
                )
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
        setup.remember(self.run_dir, [each.pid for each in [*self.children, *self.leaving] if each.pid])

    def _child(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.impatient = self.stopping.is_set()
        self.stopping.set()

    # --- while it runs -------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self.stopping.wait(0.3):
            if self.renew.is_set():
                self.renew.clear()
                self._renew()
            for child in self.children:
                code = child.ended()
                if code is not None:
                    self._revive(child, code)
            self.leaving = [child for child in self.leaving if child.ended() is None]

    def _revive(self, child: Child, code: int) -> None:
        quick = time.monotonic() - child.started_at < QUICK
        child.failures = child.failures + 1 if quick else 0
        words = " ".join(list(child.last_lines)[-1:])
        if child.name == "web" and child.failures >= HOPELESS:
            raise Stop(f"The web process ends again and again: {words} Its log is {child.log.path}.")
        delay = min(2.0 ** (child.failures - 1), 30.0) if child.failures else 0.0
        how = f"signal {-code}" if code < 0 else f"code {code}"
        output.warn(f"{child.name} ended ({how}) and is started again{f' in {delay:.0f} s' if delay else ''}. {words}")
        if not self.stopping.wait(delay):
            self._launch(child)

    def _renew(self) -> None:
        """SIGHUP: a new web process before the old one goes, which finishes its streams; then new workers."""
        output.note("Restarting web, workers and beat; streams go on.")
        old = self._child("web")
        new = Child("web", old.command, self.logs, echo=self.verbose)
        new.start([self._fd()])
        if not until(lambda: new.ready.is_set() or new.ended() is not None, START_SECONDS) or new.ended() is not None:
            output.warn(
                f"The new web process doesn't serve, the old one goes on: {' '.join(list(new.last_lines)[-1:])}"
            )
            new.kill()
            return
        self.children[self.children.index(old)] = new
        self.leaving.append(old)
        old.ask_to_end()
        for name in ("worker", "importer", "beat"):
            child = self._child(name)
            child.ask_to_end()
            if not child.wait(GRACE_SECONDS):
                child.kill()
                child.wait(5)
            self._launch(child)
        output.step("Restarted")

    # --- the end -------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self.stopping.set()
        output.note("Ending: web, workers, engines …")
        stoppable = [child for child in [*self.children, *self.leaving] if child.name != "valkey"]
        # Workers first: nobody must start an engine again that is being ended.
        for child in stoppable:
            child.ask_to_end()
        self._await_all(stoppable)
        self._end_engines()
        for child in self.children:
            if child.name == "valkey":
                child.ask_to_end()
                self._await_all([child])
        if self.listener:
            self.listener.close()
        with contextlib.suppress(OSError):
            (self.run_dir / "children.json").unlink(missing_ok=True)
        output.step("Everything has ended; the next start goes on from here")

    def _await_all(self, children: list[Child]) -> None:
        until(lambda: self.impatient or all(child.ended() is not None for child in children), GRACE_SECONDS)
        for child in children:
            child.kill()
        for child in children:
            child.wait(5)

    def _end_engines(self) -> None:
        from modelyard.launchers.local import stop_all

        stop_all(Path(environment.directory("engines")), patience=0.5 if self.impatient else 30.0)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
