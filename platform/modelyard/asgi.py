"""The ASGI application: Django, uploads, the metrics, and the life of the gateway, whose door is the protocol that
`modelyard web` serves.
"""

import os
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelyard.settings")

django = get_asgi_application()
# Django spools request bodies; a small /tmp must not be filled by an upload.
tempfile.tempdir = str(settings.UPLOADS_DIR)

# Django must be set up first.
from apps.deployments.gateway import errors  # noqa: E402
from apps.deployments.gateway.app import Gateway  # noqa: E402
from apps.deployments.monitoring import page  # noqa: E402
from apps.models.uploads import receiving  # noqa: E402
from modelyard.api.uploads import guarded  # noqa: E402

behind_guard = guarded(django)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

gateway = Gateway()
metrics = page.Page(gateway)
uploads = receiving.Uploads()


async def application(scope: Any, receive: Receive, send: Send) -> None:
    """Dispatch by path, before anything of Django runs."""
    if scope["type"] == "http":
        path = scope["path"]
        if path.startswith(("/d/", "/v1/")):
            await _misplaced(send)
        elif path == page.PATH:
            await metrics(scope, send)
        elif receiving.ours(scope):
            await uploads(scope, receive, send)
        else:
            await behind_guard(scope, receive, send)
    elif scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


async def _misplaced(send: Send) -> None:
    """The gateway's requests only get here where another server, or another spelling of the address, was chosen."""
    refused = errors.no_path("such address, or Modelyard wasn't started with `modelyard web`")
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body()})


async def lifespan(receive: Receive, send: Send) -> None:
    """Start and stop what runs behind the gateway's requests; Django has no lifespan of its own."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await gateway.startup()
            await send({"type": "lifespan.startup.complete"})
        else:
            await metrics.close()
            await gateway.shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
