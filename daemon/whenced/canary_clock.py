"""A canary every minute: proof of life that does not wait until somebody asks.

The daemon sees whether the kernel side works; the collector sees the same canary arrive and says
whether it is an answer (collector: canaries.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger(__name__)

_PERIOD_S: Final = 60.0
# After one that failed: once may be a busy host, twice is none.
_AGAIN_S: Final = 5.0

Canary = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of the last canary."""

    ended_s: float  # time.monotonic()
    ok: bool
    missing: tuple[str, ...]  # "op path"
    elapsed_ms: int


class CanaryClock:
    """Runs ``canary`` every ``period_s`` in a thread of its own, until stop()."""

    def __init__(self, canary: Canary, period_s: float = _PERIOD_S) -> None:
        self._canary, self._period_s = canary, period_s
        self._stopping = threading.Event()
        self.last: Seen | None = None
        self.failures = 0

    def start(self) -> None:
        """Begin; the first canary comes after one period: somebody proved the start."""
        threading.Thread(target=self._run, name="canary", daemon=True).start()

    def stop(self) -> None:
        """End after the canary that is under way."""
        self._stopping.set()

    def once(self) -> Seen:
        """Run one and keep what came of it."""
        try:
            reply = self._canary({})
        except OSError as error:  # no disk, no process: then nothing is proven
            reply = {"ok": False, "missing": [{"op": "run", "path": str(error)}], "elapsed_ms": 0}
        missing = tuple(f"{edge['op']} {edge['path']}" for edge in reply["missing"])
        seen = Seen(time.monotonic(), bool(reply["ok"]), missing, int(reply["elapsed_ms"]))
        if not seen.ok:
            self.failures += 1
            log.error("the canary was not seen: %s missing", ", ".join(missing))
        self.last = seen
        return seen

    def state(self) -> dict[str, Any]:
        """What doctor asks for."""
        seen = self.last
        if seen is None:
            return {"failures": self.failures}
        return {
            "failures": self.failures,
            "ok": seen.ok,
            "missing": list(seen.missing),
            "age_s": round(time.monotonic() - seen.ended_s, 1),
            "elapsed_ms": seen.elapsed_ms,
        }

    def _run(self) -> None:
        wait_s = self._period_s
        while not self._stopping.wait(wait_s):
            wait_s = self._period_s if self.once().ok else min(_AGAIN_S, self._period_s)
