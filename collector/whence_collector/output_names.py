"""Stores the names of outputs as they stand when a run ends, and while it runs.

Only reads and writes rows; how names change is decided in names.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whence_collector.names import DELETE, RENAME, Change, Standing, Written, standing_names
from whence_collector.rows import all_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.membership import Closed
    from whence_collector.resolved import NameRow, ResolvedBatch
    from whence_collector.store import Writer

OutputKey = tuple[str, int, int]  # run_id, version_id, path_id

OUTPUTS = """
SELECT p.run_id, a.version_id, a.path_id, n.path, (q.boot_id, a.mount_namespace),
min(a.first_unix_ns)
FROM process_run p
JOIN wanted USING (run_id)
JOIN process q USING (process_id)
JOIN access a ON a.process_id = p.process_id
JOIN path n ON n.path_id = a.path_id
WHERE (a.op IN (2, 5) OR a.flags & 2 != 0) AND a.first_unix_ns >= ?
GROUP BY ALL
"""
CHANGES = """
SELECT c.change, n.path, coalesce(m.path, ''), c.at_unix_ns, (q.boot_id, c.mount_namespace)
FROM name_change c
JOIN process q USING (process_id)
JOIN wanted USING (boot_id)
JOIN path n ON n.path_id = c.path_id
LEFT JOIN path m ON m.path_id = c.new_path_id
WHERE c.at_unix_ns BETWEEN ? AND ?
ORDER BY c.at_unix_ns
"""
RENAMED_NOW = """
SELECT DISTINCT p.run_id, a.version_id, a.path_id, wanted.final_path, wanted.deleted
FROM wanted
JOIN access a ON a.version_id = wanted.version_id AND (a.op IN (2, 5) OR a.flags & 2 != 0)
JOIN process_run p ON p.process_id = a.process_id
JOIN run r ON r.run_id = p.run_id
WHERE r.status = 'running' AND a.first_unix_ns >= ?
"""
RECENT_NS = 3_600_000_000_000  # a running run's outputs of the last hour follow renames at once


class OutputNames:
    """Keeps run_output_name; remembers when names changed last, for most runs see no change."""

    def __init__(self, writer: Writer) -> None:
        found = writer.rows("SELECT coalesce(max(at_unix_ns), 0) FROM name_change")
        self._last_change_ns = int(found[0][0])

    def settle(
        self, batches: Sequence[ResolvedBatch], closed: Sequence[Closed], writer: Writer
    ) -> None:
        """Bring the table up to date with batches' name changes and ended runs."""
        names: tuple[NameRow, ...] = all_of(batches, "names")
        if names:
            newest_ns = max(row.at_unix_ns for row in names)
            self._last_change_ns = max(self._last_change_ns, newest_ns)
            _follow_now(names, writer)
        touched = [run for run in closed if run.started_ns <= self._last_change_ns]
        if touched:
            # Of a run on several hosts, the boot that told of its end counts too.
            ended = {batch.boot_id for batch in batches if batch.ends}
            _settle(touched, ended | {run.boot_id for run in touched}, writer)


def _follow_now(names: Sequence[NameRow], writer: Writer) -> None:
    """Follow single files of running runs; folders are seen to when the run ends."""
    newest: dict[int, tuple[int, bool, int]] = {}
    for row in sorted(names, key=lambda row: row.at_unix_ns):
        if row.version_id and not row.directory and row.change in (RENAME, DELETE):
            path_id = row.new_path_id or row.path_id
            newest[row.version_id] = (path_id, row.change == DELETE, row.at_unix_ns)
    if not newest:
        return
    paths: dict[int, str] = dict(
        writer.rows_with(
            {"path_id": np.array([path_id for path_id, _, _ in newest.values()], np.int64)},
            "SELECT path_id, path FROM path JOIN wanted USING (path_id)",
        )
    )
    rows = writer.rows_with(
        {
            "version_id": np.array(list(newest), np.int64),
            "final_path": [paths[path_id] for path_id, _, _ in newest.values()],
            "deleted": [deleted for _, deleted, _ in newest.values()],
        },
        RENAMED_NOW,
        (min(at_ns for _, _, at_ns in newest.values()) - RECENT_NS,),
    )
    standing = {
        (run_id, version_id, path_id): Standing(final_path, deleted)
        for run_id, version_id, path_id, final_path, deleted in rows
    }
    _store(standing, writer)


def _settle(closed: Sequence[Closed], boot_ids: set[int], writer: Writer) -> None:
    """Apply every change of names between a run's begin and its end to what it wrote."""
    begin_ns = min(run.started_ns for run in closed)
    end_ns = max(run.until_ns for run in closed)
    changes = writer.rows_with({"boot_id": sorted(boot_ids)}, CHANGES, (begin_ns, end_ns))
    if not changes:
        return
    outputs = writer.rows_with({"run_id": [run.run_id for run in closed]}, OUTPUTS, (begin_ns,))
    until_ns = {run.run_id: run.until_ns for run in closed}
    standing: dict[OutputKey, Standing] = {}
    for namespace, end in {(row[4], until_ns[row[0]]) for row in outputs}:
        mine = [
            Written((run_id, version_id, path_id), path, at_ns)
            for run_id, version_id, path_id, path, where, at_ns in outputs
            if where == namespace and until_ns[run_id] == end
        ]
        events = [
            Change(kind, path, new_path, at_ns)
            for kind, path, new_path, at_ns, where in changes
            if where == namespace and at_ns <= end
        ]
        standing |= _changed(mine, events)
    _store(standing, writer)


def _changed(written: list[Written[OutputKey]], events: list[Change]) -> dict[OutputKey, Standing]:
    paths: dict[OutputKey, str] = {each.key: each.path for each in written}
    return {
        key: name
        for key, name in standing_names(written, events).items()
        if name.deleted or name.path != paths[key]
    }


def _store(standing: dict[OutputKey, Standing], writer: Writer) -> None:
    if not standing:
        return
    columns = {
        "run_id": [run_id for run_id, _, _ in standing],
        "version_id": np.array([version_id for _, version_id, _ in standing], np.int64),
        "path_id": np.array([path_id for _, _, path_id in standing], np.int32),
        "final_path": [name.path for name in standing.values()],
        "deleted": [name.deleted for name in standing.values()],
    }
    writer.rows_with(
        columns,
        "DELETE FROM run_output_name WHERE (run_id, version_id, path_id) IN "
        "(SELECT (run_id, version_id, path_id) FROM wanted)",
    )
    writer.append("run_output_name", columns)
