"""The daemon's metrics on a Unix socket: whoever connects is sent the page, then the end.

For a daemon that may open no network: the relay serves the page as HTTP. May not compute metrics.
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log: Final = logging.getLogger(__name__)

MODE: Final = 0o660
READ_BYTES: Final = 64 << 10
PAGE_LIMIT_BYTES: Final = 4 << 20
PATIENCE_S: Final = 2.0


class MetricsSocket:
    """Serves ``page()`` at ``path``, one reader at a time. Raises OSError when it cannot."""

    def __init__(self, path: Path, page: Callable[[], bytes]) -> None:
        self._path, self._page = path, page
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(MODE)
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the socket file."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._thread.join(PATIENCE_S)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            with reader, suppress(OSError):
                reader.settimeout(PATIENCE_S)
                reader.sendall(self._page())


def read_page(path: Path) -> bytes:
    """Return the page of the daemon that serves at ``path``. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(PATIENCE_S)
        link.connect(str(path))
        pieces = []
        room = PAGE_LIMIT_BYTES
        while room > 0 and (piece := link.recv(READ_BYTES)):
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces)
