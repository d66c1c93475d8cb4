"""The ASGI application: the gateway's paths go to the gateway, everything else to Django."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")

application = get_asgi_application()
