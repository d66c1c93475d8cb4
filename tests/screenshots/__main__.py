"""`python -m tests.screenshots`: see `studio`. What it shares with the tests needs a Django, on data of no use."""

import os
import sys
import tempfile


def main() -> int:
    with tempfile.TemporaryDirectory() as nowhere:
        os.environ |= {"MODELYARD_DATA_DIR": nowhere, "DJANGO_SETTINGS_MODULE": "modelyard.settings"}
        import django

        django.setup()
        from tests.screenshots import studio

        return studio.main()


if __name__ == "__main__":
    sys.exit(main())
