"""Changing the secret key of an installation that has connections."""

from pathlib import Path

import pytest

from tests.cli.conftest import run

pytestmark = pytest.mark.system


def test_the_secret_key_can_be_changed(tmp_path: Path) -> None:
    data, old, new = tmp_path / "data", {"MODELYARD_SECRET_KEY": "the-old-one"}, {"MODELYARD_SECRET_KEY": "the-new-one"}
    assert run("migrate", "-v0", data=data, **old).returncode == 0
    make = "from apps.models.hub import operations as o; o.connect('Team', 'hf_x', by=None)"
    assert run("shell", "-v0", "-c", make, data=data, **old).returncode == 0
    lost = run("reseal", data=data, **new)
    assert (lost.returncode, "MODELYARD_SECRET_KEY_FALLBACKS" in lost.stdout) == (1, True)
    assert run("reseal", data=data, **new, MODELYARD_SECRET_KEY_FALLBACKS="the-old-one").returncode == 0
    read = """
from apps.models.hub import vault
from apps.models.models import Connection
print(vault.unseal(Connection.objects.get().token))
"""
    assert "hf_x" in run("shell", "-v0", "-c", read, data=data, **new).stdout
