"""The `modelyard` command: its own subcommands, and Django's for everything else."""

import os
import sys
from pathlib import Path

import click

from modelyard import __version__
from modelyard.cli import output

OWN = (
    "up",
    "demo",
    "doctor",
    "startruntime",
    "web",
    "worker",
    "beat",
    "bundle",
    "import-bundle",
    "reseal",
    "check-catalogue",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command of Django's manage.py works too: modelyard migrate, modelyard changepassword admin …",
)
@click.version_option(__version__)
def cli() -> None:
    """Import open-source models, deploy them, serve them behind one address."""


@cli.command()
@click.option("--demo", is_flag=True, help="Import and deploy real models, and print a cURL that answers.")
@click.option("--verbose", is_flag=True, help="Show the logs of all processes.")
def up(demo: bool, verbose: bool) -> None:
    """Start everything: Valkey, web, workers, beat. Ctrl-C ends it again, engines included."""
    from modelyard.cli.up import run

    sys.exit(run(demo=demo, verbose=verbose))


@cli.command()
@click.option("--base-url", default="", help="Where the web process answers.")
@click.option("--fetch-only", is_flag=True, help="Only bring the models' files into the data directory.")
def demo(base_url: str, fetch_only: bool) -> None:
    """Import and deploy the demo models in a running Modelyard, and print a cURL that answers."""
    from modelyard.cli.demo import fetch, run

    sys.exit(fetch() if fetch_only else run(base_url))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Check this installation, and say what to mend."""
    from modelyard.cli.doctor import run

    sys.exit(run(as_json=as_json))


@cli.command()
@click.argument("name")
@click.option("--directory", default=".", type=click.Path(path_type=Path), help="Where its folder is made.")
def startruntime(name: str, directory: Path) -> None:
    """Make a runtime plugin that works, to change into your own."""
    from modelyard.cli.startruntime import run

    run(name, directory)


@cli.command()
@click.option("--host", default="127.0.0.1", envvar="MODELYARD_HOST", show_default=True)
@click.option("--port", default=8000, envvar="MODELYARD_PORT", show_default=True)
@click.option("--fd", default=None, type=int, help="A listening socket to serve on instead.")
def web(host: str, port: int, fd: int | None) -> None:
    """The web process: admin, API and gateway."""
    from modelyard.cli.processes import serve

    serve(host, port, fd)


@cli.command()
@click.option("--queues", "-Q", default="control,imports", show_default=True)
@click.option("--concurrency", "-c", default=8, show_default=True)
def worker(queues: str, concurrency: int) -> None:
    """A Celery worker. `control` runs deployments, `imports` imports models: give imports a worker of their own."""
    from modelyard.cli.processes import work

    work(queues, concurrency)


@cli.command()
def beat() -> None:
    """The scheduler that wakes the reconciler and the watchdog. One is enough."""
    from modelyard.cli.processes import schedule

    schedule()


@cli.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--output", "target", required=True, type=click.Path(path_type=Path), help="The folder to make.")
def bundle(models: tuple[str, ...], target: Path) -> None:
    """Put imported models into a folder that can be carried to where there is no network."""
    from modelyard.cli.bundles import make

    make(models, target)


@cli.command("import-bundle")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1)
@click.option("--sha256", default="", help="What the manifest's SHA-256 must be.")
def import_bundle(folder: Path, models: tuple[str, ...], sha256: str) -> None:
    """Import the models of a bundle, all or those named."""
    from modelyard.cli.bundles import take

    sys.exit(take(folder, models, sha256))


@cli.command("check-catalogue")
@click.argument("models", nargs=-1)
@click.option("--connection", default="", help="The name of a connection to ask with.")
def check_catalogue(models: tuple[str, ...], connection: str) -> None:
    """Compare the catalogue's figures with what the hub says, of all models or those named."""
    from modelyard.cli.catalogue import run

    sys.exit(run(connection, models))


@cli.command()
def reseal() -> None:
    """Encrypt the tokens of connections with the newest secret key, so that an old one can go."""
    from modelyard.cli.sealing import run

    sys.exit(run())


def main() -> None:
    """The entry point. What can be foreseen to go wrong is one line, never a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")
    # From a checkout, so that `python -m modelyard.cli` finds `apps` too.
    root = Path(__file__).resolve().parents[3]
    if (root / "manage.py").exists() and str(root) not in sys.path:
        sys.path.insert(0, str(root))
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        if first and first not in OWN:
            _django()
        else:
            cli(prog_name="modelyard")
    except output.Stop as stop:
        output.fail(str(stop))
        sys.exit(1)


def _django() -> None:
    """One of Django's commands."""
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    from modelyard.cli import setup

    setup.check_database_url()
    try:
        execute_from_command_line(["modelyard", *sys.argv[1:]])
    except OperationalError as error:
        raise output.Stop(setup.database_trouble(str(error))) from None
