"""Raw rows by age: what old runs leave behind when their detail is folded.

Kept for ever: runs, their first processes, inputs and outputs of the classes that answers show,
edges, contents, names, code and packages, requests, decisions, money. Folded: increments of one
(process, version, path, op) into one row. Gone: touches of libraries and caches that no run made
(packages say which they were), and helpers that touched nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.errors import StorageUnavailable

if TYPE_CHECKING:
    from whence_collector.store import Store, Writer

LOG = logging.getLogger("whence.retention")

DAY_NS = 86_400 * 1_000_000_000
# Of one transaction: commits of daemons wait as long as it takes.
RUNS_AT_ONCE = 200
EVERY_S = 3600.0
REST_S = 1.0

# A step is as old as what it is a step of: names and edges settle when the outermost run ends.
OLD_RUNS = """
WITH RECURSIVE outermost(run_id, top_id) AS (
    SELECT run_id, run_id FROM run WHERE parent_run_id IS NULL
    UNION ALL
    SELECT r.run_id, o.top_id FROM run r JOIN outermost o ON r.parent_run_id = o.run_id
)
SELECT o.run_id FROM outermost o
JOIN run t ON t.run_id = o.top_id
ANTI JOIN folded_run f ON f.run_id = o.run_id
WHERE t.status <> 'running' AND t.ended_ns < ?
    AND NOT EXISTS (
        SELECT 1 FROM outermost s JOIN run r USING (run_id)
        WHERE s.top_id = o.top_id AND (r.status = 'running' OR r.ended_ns >= ?))
ORDER BY t.ended_ns LIMIT ?
"""
# What answers show, and whatever a run made, whoever calls it a library.
KEEP = """
SELECT a.process_id, a.version_id, a.path_id, a.op, sum(a.ops)::BIGINT AS ops,
    sum(a.bytes)::BIGINT AS bytes, min(a.first_unix_ns) AS first_unix_ns,
    max(a.last_unix_ns) AS last_unix_ns, bit_or(a.flags) AS flags,
    any_value(a.mount_namespace) AS mount_namespace
FROM access a
JOIN old_process o USING (process_id)
LEFT JOIN path_class k USING (path_id)
WHERE coalesce(CASE WHEN a.op = 3 THEN k.executed_class ELSE k.class END, 'cache')
        NOT IN ('library', 'cache')
    OR a.op IN (2, 5) OR a.flags & 2 != 0
    OR a.version_id IN (SELECT version_id FROM run_dependency WHERE version_id IS NOT NULL)
GROUP BY a.process_id, a.version_id, a.path_id, a.op
"""
SPOKEN_OF = " UNION ALL ".join(
    f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 -- our own names
    for table, column in (
        ("run", "root_process_id"),
        ("gpu_hold", "process_id"),
        ("gpu_share", "process_id"),
        ("metric", "process_id"),
        ("spend_ledger", "process_id"),
        ("tag", "process_id"),
        ("tag_reach", "process_id"),
    )
)
FOLD = (
    "CREATE OR REPLACE TEMP TABLE old_process AS "
    "SELECT process_id FROM process_run JOIN wanted USING (run_id)",
    f"CREATE OR REPLACE TEMP TABLE kept_access AS {KEEP}",
    "DELETE FROM access WHERE process_id IN (SELECT process_id FROM old_process)",
    "INSERT INTO access BY NAME SELECT * FROM kept_access",
    # Helpers: neither first of a run, nor of any touch that is left, nor whom a GPU is charged to.
    "CREATE OR REPLACE TEMP TABLE old_helper AS SELECT process_id FROM old_process "
    "ANTI JOIN kept_access USING (process_id) "
    "WHERE process_id NOT IN (SELECT root_process_id FROM run) "
    "AND process_id NOT IN (SELECT process_id FROM gpu_hold)",
    "DELETE FROM process WHERE process_id IN (SELECT process_id FROM old_helper)",
    "DELETE FROM process_end WHERE process_id IN (SELECT process_id FROM old_helper)",
    "DELETE FROM stream_touch WHERE process_id IN (SELECT process_id FROM old_process)",
)


@dataclass(frozen=True, slots=True)
class Folded:
    """What one transaction did."""

    runs: int
    rows_before: int
    rows_after: int


def fold(writer: Writer, before_ns: int, now_ns: int, limit: int = RUNS_AT_ONCE) -> Folded:
    """Fold the oldest runs that ended before a time, at most ``limit`` of them."""
    runs = [row[0] for row in writer.rows(OLD_RUNS, (before_ns, before_ns, limit))]
    if not runs:
        return Folded(0, 0, 0)
    count = (
        "SELECT count(*) FROM access JOIN process_run USING (process_id) JOIN wanted USING (run_id)"
    )
    before = writer.rows_with({"run_id": runs}, count)[0][0]
    writer.rows_with({"run_id": runs}, FOLD[0])
    for statement in FOLD[1:]:
        writer.execute(statement)
    after = writer.rows("SELECT count(*) FROM kept_access")[0][0]
    writer.append("folded_run", {"run_id": runs, "folded_ns": [now_ns] * len(runs)})
    return Folded(len(runs), before, after)


class Retention:
    """Folds in the background, a little at a time, for as long as the collector serves."""

    def __init__(self, store: Store, keep_days: int, clock_ns: Callable[[], int]) -> None:
        self._store, self._keep_ns, self._clock_ns = store, keep_days * DAY_NS, clock_ns

    async def run(self) -> None:
        """Look every hour; go on at once while there is more."""
        while True:
            try:
                found = await self.step()
            except StorageUnavailable as error:
                LOG.warning("old rows stay for now: %s", error)
                found = Folded(0, 0, 0)
            await asyncio.sleep(REST_S if found.runs == RUNS_AT_ONCE else EVERY_S)

    async def step(self) -> Folded:
        """Fold once. Raises StorageUnavailable."""
        now_ns = self._clock_ns()
        found = await asyncio.wrap_future(
            self._store.write(lambda writer: fold(writer, now_ns - self._keep_ns, now_ns))
        )
        if found.runs:
            LOG.info(
                "folded %d runs: %d rows became %d", found.runs, found.rows_before, found.rows_after
            )
        return found
