"""Changing the secret key of an installation that has connections."""

from pathlib import Path

import pytest

from tests.cli.conftest import run

pytestmark = pytest.mark.system


def test_the_secret_key_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("MODELYARD_SECRET_KEY", "the-old-one")
    assert run("migrate", "-v0", data=data).returncode == 0
    make = "from apps.models.hub import operations as o; o.connect('Team', 'hf_x', by=None)"
    assert run("shell", "-v0", "-c", make, data=data).returncode == 0
    monkeypatch.setenv("MODELYARD_SECRET_KEY", "the-new-one")
    lost = run("reseal", data=data)
    assert (lost.returncode, "MODELYARD_SECRET_KEY_FALLBACKS" in lost.stdout) == (1, True)
    monkeypatch.setenv("MODELYARD_SECRET_KEY_FALLBACKS", "the-old-one")
    assert run("reseal", data=data).returncode == 0
    monkeypatch.delenv("MODELYARD_SECRET_KEY_FALLBACKS")
    read = """
from apps.models.hub import vault
from apps.models.models import Connection
print(vault.unseal(Connection.objects.get().token))
"""
    assert "hf_x" in run("shell", "-v0", "-c", read, data=data).stdout
