"""`modelyard check-catalogue`: the catalogue's figures beside those of the hub."""

from modelyard.cli import output, setup
from modelyard.cli.output import Stop


def run(connection_name: str, wanted: tuple[str, ...]) -> int:
    """A line for each difference; 1 if there is any."""
    setup.prepare_django()
    with setup.using_database():
        from apps.models.catalogue.comparing import differences
        from apps.models.catalogue.shelf import shelf
        from apps.models.hub.models import Connection

        connection = Connection.objects.filter(name=connection_name).first()
        if connection_name and connection is None:
            raise Stop(f"there is no connection {connection_name!r}")
        entries = [offer.entry for offer in shelf().offers if offer.entry.repository]
        entries = [entry for entry in entries if not wanted or entry.id in wanted]
        if unknown := sorted(set(wanted) - {entry.id for entry in entries}):
            raise Stop(f"the catalogue has no {', '.join(unknown)} with a repository")
        found = 0
        for entry in entries:
            for each in differences(entry, connection):
                found += 1
                output.warn(f"{each.entry}: {each.what}: {each.here} here, {each.hub} at the hub")
    output.step(f"{len(entries)} models were compared with the hub, {found} differences")
    return 1 if found else 0
