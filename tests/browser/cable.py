"""The network between a browser and a site: as slow as wanted, and cut when wanted."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit


class Cable:
    """Carries connections to an address. `rate`: bytes a second on the way there, 0 for any."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.target = (parts.hostname or "", parts.port or 80)
        self.rate = 0
        self.whole = True
        self.links: set[socket.socket] = set()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Everything that is on the way is lost, and nothing gets through."""
        self.whole = False
        for link in list(self.links):
            self._close(link)

    def mend(self) -> None:
        """As before."""
        self.whole = True

    def close(self) -> None:
        """For ever."""
        self.cut()
        self.door.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.door.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        self.links.add(near)
        try:
            far = socket.create_connection(self.target) if self.whole else None
        except OSError:
            far = None
        if far is None:
            self._close(near)
            return
        self.links.add(far)
        threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()
        self._pump(near, far, True)

    def _pump(self, source: socket.socket, target: socket.socket, there: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(64 * 1024):
                target.sendall(piece)
                if there and self.rate:
                    time.sleep(len(piece) / self.rate)
        self._close(source)
        self._close(target)

    def _close(self, link: socket.socket) -> None:
        self.links.discard(link)
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
        link.close()
