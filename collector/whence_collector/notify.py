"""What this service tells systemd: ready, alive, stopping (sd_notify(3)).

The daemon has the same few lines: the programs share nothing but the wire.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Speaks to the manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path  # "@": abstract, unix(7)
        limit_us = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(limit_us) / 2e6 if limit_us.isdigit() else None

    def tell(self, *lines: str) -> None:
        """Send one message; a manager that is gone or busy never stops the service."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, suppress(OSError):
            link.setblocking(False)
            link.sendto("\n".join(lines).encode(), self._address)

    async def keep_telling(self) -> None:
        """Tell twice in each watchdog period that the event loop turns; for ever."""
        while self.watchdog_s is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s)
