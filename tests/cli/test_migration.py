"""A migration that waits for somebody's lock holds up neither the end nor what runs."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Up, answers, command_of, gone, processes_of
from tests.cli.test_up import eventually, named

pytestmark = pytest.mark.system

FIRST = "setup.migrate = lambda: (print('it waits', flush=True), time.sleep(600))"
LATER = "migration.COMMAND = [sys.executable, '-c', 'import time; time.sleep(600) # it waits']"
STUBBORN = LATER.replace("import time;", "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);")
UP = """#!{python}
import os, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "modelyard.settings"
sys.path.insert(0, {root!r})
from modelyard.cli import migration, setup
from modelyard.cli.up import run
{how}
sys.exit(run(demo=False, verbose=False))
"""
Waiting = Callable[[str], Up]


@pytest.fixture
def waiting(tmp_path: Path, up: Start) -> Waiting:
    """A real `modelyard up` whose migration waits so."""

    def start(how: str) -> Up:
        file = tmp_path / "up"
        file.write_text(UP.format(python=sys.executable, root=str(Path(__file__).parents[2]), how=how))
        file.chmod(0o700)
        return up(python=str(file))

    return start


def test_the_first_ones_end_when_that_is_asked_for(data: Path, waiting: Waiting) -> None:
    yard = waiting(FIRST)
    yard.wait_for("^it waits")
    yard.signal(signal.SIGTERM)
    assert yard.process.wait(60) == 0
    assert gone(data)
    eventually(lambda: "was interrupted" in yard.text)
    assert "Traceback" not in yard.text


@pytest.mark.parametrize("how", [LATER, STUBBORN])
def test_beside_an_upgrades_the_others_are_looked_after_until_the_end(data: Path, waiting: Waiting, how: str) -> None:
    yard = waiting(how)
    address = yard.ready()
    yard.signal(signal.SIGHUP)
    eventually(lambda: any("# it waits" in command_of(process) for process in processes_of(data)))
    (web,) = named(data, "modelyard.cli web")
    web.kill()
    yard.wait_for("web ended by signal SIGKILL")
    eventually(lambda: answers(address))
    yard.signal(signal.SIGTERM)
    assert yard.process.wait(60) == 0
    assert gone(data)
    eventually(lambda: "was interrupted" in yard.text)
