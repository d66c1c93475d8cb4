"""Where engine processes run: the reconciler asks a launcher to start, watch and end them, and never owns them."""

from modelyard.launchers.base import Launch, Launcher, NoFreePort, Observation, ProcessState

__all__ = ["Launch", "Launcher", "NoFreePort", "Observation", "ProcessState", "default"]


def default() -> Launcher:
    """The launcher of this installation: processes on this host."""
    from django.conf import settings

    from modelyard.launchers.local import LocalLauncher

    return LocalLauncher(settings.ENGINES_DIR, settings.ENGINE_PORTS)
