"""`modelyard reseal`: what is encrypted in the database, under the newest secret key."""

from modelyard.cli import output, setup


def run() -> int:
    """Reseal; 1 if some of it can't be opened by any key that is known."""
    setup.prepare_django()
    with setup.using_database():
        from apps.models.hub import operations

        lost = operations.reseal()
    if lost:
        output.fail(
            f"{lost} connection(s) can't be decrypted: put the key that they were encrypted with into "
            "MODELYARD_SECRET_KEY_FALLBACKS, or replace their tokens"
        )
        return 1
    output.step("Every token is encrypted with the newest secret key")
    return 0
