"""User id to name, without ever making capture wait for a directory server.

May not read anything but the user database.
"""

from __future__ import annotations

import pwd
import queue
import threading
import time
from collections.abc import Callable

REREAD_S = 60.0
# A local /etc/passwd answers in well under a millisecond; LDAP may take seconds or for ever.
PATIENCE_S = 0.02


def system_name(uid: int) -> str | None:
    """Name by the system's database (may block), None when it knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


class UserNames:
    """Names by user id, each asked for at most every ``REREAD_S`` seconds of ``clock``.

    A thread asks. Where it does not answer within ``PATIENCE_S`` the name is not known yet; a
    later call has it.
    """

    def __init__(
        self,
        lookup: Callable[[int], str | None] = system_name,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._lookup, self._clock, self._patience_s = lookup, clock, patience_s
        self._known: dict[int, tuple[str | None, float]] = {}
        self._pending: dict[int, threading.Event] = {}
        self._wanted: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._answer, name="users", daemon=True).start()

    def name(self, uid: int) -> str | None:
        """Name of the user, None when unknown (yet)."""
        known = self._known.get(uid)
        if known is not None and self._clock() - known[1] < REREAD_S:
            return known[0]
        # While an old name is asked for again it stays good.
        patience_s = 0.0 if known else self._patience_s
        if uid not in self._pending:
            self._pending[uid] = threading.Event()
            self._wanted.put(uid)
        elif known is None:
            patience_s = 0.0  # somebody waited for this one already
        answered = self._pending[uid].wait(patience_s)
        if answered:
            del self._pending[uid]
        known = self._known.get(uid)
        return known[0] if known else None

    def _answer(self) -> None:
        while True:
            uid = self._wanted.get()
            self._known[uid] = (self._lookup(uid), self._clock())
            self._pending[uid].set()
