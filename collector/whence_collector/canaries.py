"""Whether each host's canary arrives: the last proof of the whole way, from kernel to answer.

A daemon runs a canary every minute (daemon: canary_clock.py). Its edges must be rows here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whence_collector.metrics import Metrics
    from whence_collector.presence import Presence
    from whence_collector.store import Reader, Store

LOG = logging.getLogger("whence.canaries")

# What a canary does once (daemon: canary.py): operation and leaf of the path.
EXPECTED = frozenset(
    {
        ("write", "first"),
        ("read", "first"),
        ("map", "first"),
        ("rename", "first"),
        ("write", "third"),
        ("truncate", "third"),
        ("link", "third"),
        ("delete", "second"),
    }
)
SECOND_NS = 1_000_000_000
LOOK_S = 30.0
# Between a canary's end and its last row; a host's clock may differ a little.
SETTLED_NS = 10 * SECOND_NS
LOOKED_BACK_NS = 3600 * SECOND_NS
LATE_NS = 180 * SECOND_NS  # three were missed
OPS = {1: "read", 2: "write", 3: "execute", 4: "map", 5: "truncate"}
CHANGES = {1: "rename", 2: "link", 3: "delete", 4: "rename"}

NEWEST = """
SELECT host_id, arg_max(run_id, started_ns), max(started_ns) FROM run
WHERE kind = 'canary' AND started_ns >= ? AND ended_ns <= ? GROUP BY host_id
"""
# The times bound what is read of the big tables: rows come in the order of time.
TOUCHED = """
SELECT a.op, p.path FROM access a JOIN process_run m USING (process_id)
JOIN path p USING (path_id) WHERE m.run_id = ? AND a.first_unix_ns >= ?
"""
CHANGED = """
SELECT c.change, p.path FROM name_change c JOIN process_run m USING (process_id)
JOIN path p USING (path_id) WHERE m.run_id = ? AND c.at_unix_ns >= ?
"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The newest canary of a host."""

    at_ns: int
    missing: tuple[str, ...]  # "op leaf" that are no rows


def arrived(reader: Reader, now_ns: int) -> dict[int, Arrived]:
    """Return the newest canary of each host that had one within the last hour, by host_id."""
    found = {}
    bounds = (now_ns - LOOKED_BACK_NS, now_ns - SETTLED_NS)
    for host_id, run_id, started_ns in reader.rows(NEWEST, bounds):
        run = (run_id, started_ns)
        seen = {(OPS.get(op), _leaf(path)) for op, path in reader.rows(TOUCHED, run)}
        seen |= {(CHANGES.get(change), _leaf(path)) for change, path in reader.rows(CHANGED, run)}
        missing = tuple(f"{op} {leaf}" for op, leaf in sorted(EXPECTED - seen))
        found[host_id] = Arrived(started_ns, missing)
    return found


def trouble(canary: Arrived | None, now_ns: int) -> str | None:
    """Say in one sentence what is wrong with a connected host's canary, None when all is well.

    None for a host that has none at all: its daemon may be of before, or may observe no canary.
    """
    if canary is None:
        return None
    if canary.missing:
        return f"the last canary lacks {', '.join(canary.missing)}"
    late_ns = now_ns - canary.at_ns
    if late_ns > LATE_NS:
        return f"the last canary that arrived is {late_ns // SECOND_NS} s old"
    return None


class CanaryWatch:
    """Looks every LOOK_S and keeps the gauges; says in the log when a host's canary fails."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        metrics: Metrics,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store, self._presence, self._metrics = store, presence, metrics
        self._clock = clock
        self._told: dict[int, str | None] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.note(*await asyncio.to_thread(self._look))

    def _look(self) -> tuple[dict[int, Arrived], dict[int, str]]:
        with self._store.cursor() as reader:
            names: dict[int, str] = dict(reader.rows("SELECT host_id, name FROM host"))
            return arrived(reader, self._clock()), names

    def note(self, canaries: dict[int, Arrived], names: dict[int, str]) -> None:
        """Keep what a look found; only a connected host owes a canary."""
        for host_id, canary in canaries.items():
            host = names[host_id]
            now_ns = self._clock()
            self._metrics.canary_age_seconds.labels(host).set((now_ns - canary.at_ns) / SECOND_NS)
            wrong = trouble(canary, now_ns) if self._presence.is_connected(host_id) else None
            self._metrics.canary_failing.labels(host).set(1 if wrong else 0)
            if wrong and wrong != self._told.get(host_id):
                LOG.error("host %s: %s", host, wrong)
            self._told[host_id] = wrong


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]
