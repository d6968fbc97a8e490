"""What a service tells systemd: ready, alive, stopping. Says nothing where nobody listens.

The protocol is one datagram of NAME=VALUE lines (sd_notify(3)); no library is worth it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Speaks to the manager that started this process; ``environ`` names its socket."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # "@" begins a name in the abstract namespace (unix(7)).
        self._address = "\0" + path[1:] if path.startswith("@") else path
        whole_us = environ.get("WATCHDOG_USEC", "")
        # A manager that kills after so long wants to hear at half of it (sd_watchdog_enabled(3)).
        self.watchdog_s = int(whole_us) / 2e6 if whole_us.isdigit() else None

    @property
    def is_heard(self) -> bool:
        """Whether a manager waits for what is told."""
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Send one message, as ``tell("READY=1", "STATUS=capturing")``."""
        if not self._address:
            return
        # A manager that is gone or busy must not stop the service.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, suppress(OSError):
            link.setblocking(False)
            link.sendto("\n".join(lines).encode(), self._address)
