"""Tells another program what happened: one POST of JSON for each event, in order, with patience.

Bounded: events that cannot be told are dropped from the front and counted, never waited for.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.audit_chain import Record

LOG = logging.getLogger("whence.webhook")

# What is worth a message: decisions, money, and GPUs that nobody asked for.
TOLD = frozenset(
    {
        "request.filed", "request.edited", "request.submitted", "request.reviewed",
        "request.claimed", "request.run", "request.burned", "request.ended", "request.cancelled",
        "request.expired", "spend.unrequested", "refused", "budget.end_ordered",
        "budget.end_told", "budget.not_enforced",
    }
)  # fmt: skip
KEPT = 1_000
TIMEOUT_S = 10.0
PAUSES_S = (1.0, 5.0, 25.0)


class Webhook:
    """Posts records to a URL, from a thread of its own."""

    def __init__(self, url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url, self._sleep = url, sleep
        self._waiting: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._came = threading.Event()
        self.sent = self.failed = 0
        threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def __call__(self, record: Record) -> None:
        """Take a record; returns at once."""
        if record.action not in TOLD:
            return
        if len(self._waiting) == KEPT:
            self.failed += 1
        self._waiting.append(event(record))
        self._came.set()

    def _run(self) -> None:
        while True:
            self._came.wait()
            self._came.clear()
            while self._waiting:
                if self._post(self._waiting.popleft()):
                    self.sent += 1
                else:
                    self.failed += 1

    def _post(self, document: dict[str, Any]) -> bool:
        body = json.dumps(document).encode()
        for pause_s in (*PAUSES_S, 0.0):
            request = urllib.request.Request(  # noqa: S310 -- the address is the administrator's
                self._url, body, {"Content-Type": "application/json", "User-Agent": "whence"}
            )
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 -- the same
                    if reply.status < 300:
                        return True
            except (OSError, urllib.error.URLError) as error:
                LOG.warning("event %s was not taken: %s", document["number"], error)
            self._sleep(pause_s)
        return False


def event(record: Record) -> dict[str, Any]:
    """Return what is told of a record: no credential and no ancestry."""
    content = {k: v for k, v in record.content.items() if k not in ("signature", "sha256")}
    return {
        "event": record.action,
        "number": record.number,
        "sha256": record.sha256,  # who keeps it has a head of the chain that nobody here can change
        "at_unix_ns": record.at_unix_ns,
        "subject": record.subject,
        "who": record.actor.get("name", ""),
        "who_kind": record.actor.get("kind", ""),
        "content": content,
    }
