import json
from pathlib import Path

import pytest

from tests.cli.conftest import Start, run

pytestmark = pytest.mark.system


def test_it_says_what_to_mend_where_nothing_runs(data: Path) -> None:
    done = run("doctor", "--json", data=data)
    findings = {each["subject"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["redis"]["level"] == "fail"
    assert "modelyard up" in findings["redis"]["mend"]
    assert "modelyard migrate" in findings["database"]["mend"]


def test_all_is_well_where_everything_runs(data: Path, up: Start) -> None:
    up().ready()
    done = run("doctor", data=data)
    assert done.returncode == 0, done.stdout
    assert "ok   onnx engine" in done.stdout


def test_it_warns_of_a_secret_key_that_others_can_read(data: Path) -> None:
    run("check", data=data)
    (data / "secret_key").chmod(0o644)
    done = run("doctor", data=data)
    assert done.returncode == 1
    assert "chmod 600" in done.stdout


def test_a_database_that_cannot_be_reached_is_a_finding(data: Path) -> None:
    done = run("doctor", "--json", data=data, MODELYARD_DATABASE_URL="postgres://a:sesame@127.0.0.1:1/x")
    findings = {each["subject"]: each for each in json.loads(done.stdout)}
    assert findings["database"]["level"] == "fail"
    assert "sesame" not in done.stdout


def test_it_asks_for_an_allow_list_only_where_strangers_can_come(data: Path) -> None:
    assert "modelyard.W005" not in run("doctor", data=data).stdout
    open_to_all = run("doctor", data=data, MODELYARD_HOST="0.0.0.0").stdout
    assert "MODELYARD_ALLOWED_HOSTS" in open_to_all
    named = run("doctor", data=data, MODELYARD_HOST="0.0.0.0", MODELYARD_ALLOWED_HOSTS="models.example.com").stdout
    assert "modelyard.W005" not in named


def test_commands_of_django_are_commands_of_modelyard(data: Path) -> None:
    assert "no issues" in run("check", data=data).stdout
    assert "Unknown command" in run("nonsense", data=data).stdout
