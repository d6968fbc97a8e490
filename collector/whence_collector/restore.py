"""Brings a Deriver's memory back from the tables after a restart.

Reads only what is still alive, and of the big tables a few integer columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whence_collector.carriers import CARRIERS, carries
from whence_collector.changes import Past
from whence_collector.recipe_store import load_environments
from whence_collector.resolved import EndRow
from whence_collector.run_rows import PROCESS_COLUMNS, RUN_COLUMNS, process_of_row, run_of_row
from whence_collector.run_state import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whence_collector.captures import Gap
    from whence_collector.edges import EdgeIndex
    from whence_collector.index_file import Kept
    from whence_collector.resolved import BlindRow, LossRow
    from whence_collector.runs import RunBook
    from whence_collector.store import Writer

# Programs that run, on the newest boot of each host.
ALIVE = """
SELECT p.process_id
FROM process p
JOIN boot b USING (boot_id)
ANTI JOIN process_end e ON e.process_id = p.process_id
WHERE b.boot_id IN (SELECT max(boot_id) FROM boot GROUP BY host_id)
"""
# Any of the first words may name what an interpreter runs.
MAYBE_CARRIERS = f"""
SELECT {", ".join(PROCESS_COLUMNS)} FROM process
WHERE list_contains(?::VARCHAR[], parse_filename(exe))
    OR list_has_any(list_transform(argv[1:4], lambda word: parse_filename(word)), ?::VARCHAR[])
"""  # noqa: S608 -- names are ours
# They, the programs above them, the images before them, and the first programs of their runs.
RELEVANT = f"""
WITH RECURSIVE relevant(process_id) AS (
    ({ALIVE})
    UNION
    SELECT unnest([p.parent_process_id, r.root_process_id, q.process_id])
    FROM relevant w
    JOIN process p ON p.process_id = w.process_id
    LEFT JOIN process_run m ON m.process_id = p.process_id
    LEFT JOIN run r ON r.run_id = m.run_id
    LEFT JOIN process q ON q.boot_id = p.boot_id AND q.tgid = p.tgid
        AND q.start_ns = p.start_ns AND q.image + 1 = p.image
)
SELECT process_id FROM relevant WHERE process_id IS NOT NULL
"""  # noqa: S608 -- every part is written here
STEPS_UP = """
WITH RECURSIVE up(run_id) AS (
    SELECT m.run_id FROM process_run m JOIN wanted USING (process_id)
    UNION
    SELECT r.parent_run_id FROM up JOIN run r USING (run_id) WHERE r.parent_run_id IS NOT NULL
)
"""
# Runs that no memory holds any more: of an earlier boot, or ended within the gap.
FORGOTTEN_RUNNING = """
UPDATE run SET status = 'unknown', complete = false,
    incomplete_reason = concat_ws('; ', incomplete_reason, ?, 'nobody saw how it ended'),
    unobserved_ns = coalesce(unobserved_ns, 0) + ?,
    ended_ns = greatest(started_ns, ?)
WHERE status = 'running' AND host_id = ? AND root_process_id IN (
    SELECT process_id FROM process JOIN boot USING (boot_id) WHERE host_id = ? AND boot_id != ?)
"""
FORGOTTEN_ENDED = """
UPDATE run SET complete = false, incomplete_reason = ?, unobserved_ns = ?
WHERE complete AND host_id = ? AND started_ns <= ? AND ended_ns >= ?
"""
OLD_LOSS = """
UPDATE run SET complete = false, incomplete_reason = ?, lost_records = ?
WHERE complete AND host_id = ? AND {whose}
"""
OF_INTERVAL = "started_ns <= ? AND ended_ns >= ?"
OF_PROCESS = "run_id IN (SELECT run_id FROM process_run WHERE process_id = ?)"


def mark_old_loss(host_id: int, loss: LossRow, writer: Writer) -> None:
    """Mark runs that ended before a loss of theirs, or of their time, became known."""
    why = loss.reason or f"records of class {loss.record_class}"
    values: tuple[object, ...] = (f"{loss.lost} records lost: {why}", loss.lost, host_id)
    if loss.process_id is not None:
        writer.execute(OLD_LOSS.format(whose=OF_PROCESS), (*values, loss.process_id))
    else:
        interval = (loss.until_unix_ns, loss.from_unix_ns)
        writer.execute(OLD_LOSS.format(whose=OF_INTERVAL), (*values, *interval))


def mark_forgotten(host_id: int, boot_id: int, gap: Gap, writer: Writer) -> None:
    """Mark the runs of a time that nobody observed which are only in the tables."""
    length_ns = gap.until_ns - gap.from_ns
    running = (gap.sentence, length_ns, gap.from_ns, host_id, host_id, boot_id)
    ended = (gap.sentence, length_ns, host_id, gap.until_ns, gap.from_ns)
    writer.execute(FORGOTTEN_RUNNING, running)
    writer.execute(FORGOTTEN_ENDED, ended)


def restore_book(book: RunBook, writer: Writer) -> None:
    """Put back the programs that run, and their runs."""
    ids = [process_id for (process_id,) in writer.rows(RELEVANT)]
    if not ids:
        return
    wanted = {"process_id": np.array(ids, np.int64)}
    processes = writer.rows_with(
        wanted,
        f"SELECT {', '.join(PROCESS_COLUMNS)} FROM process "  # noqa: S608 -- names are ours
        "JOIN wanted USING (process_id)",
    )
    ends = writer.rows_with(
        wanted,
        "SELECT process_id, at_unix_ns, exit_code, exit_signal, replaced FROM process_end "
        "JOIN wanted USING (process_id)",
    )
    run_of = writer.rows_with(
        wanted, "SELECT process_id, run_id FROM process_run JOIN wanted USING (process_id)"
    )
    runs = writer.rows_with(
        wanted,
        f"{STEPS_UP} SELECT {', '.join(RUN_COLUMNS)} FROM run JOIN up USING (run_id)",  # noqa: S608 -- names are ours
    )
    book.restore(
        Past(
            processes=tuple(process_of_row(row) for row in processes),
            ends={row[0]: EndRow(*row) for row in ends},
            run_of=dict(run_of),
            runs=tuple(run_of_row(row) for row in runs),
            environments={
                process_id: Environment(*found)
                for process_id, found in load_environments(ids, writer).items()
            },
        )
    )


def mark_old_blind_spots(rows: Iterable[BlindRow], writer: Writer) -> None:
    """Mark runs that are complete no longer and that nobody remembers in memory."""
    for row in rows:
        writer.execute(
            "UPDATE run SET complete = false, incomplete_reason = ? WHERE complete AND run_id IN "
            "(SELECT run_id FROM process_run WHERE process_id = ?)",
            (row.reason, row.process_id),
        )


def restore_index(index: EdgeIndex, kept: Kept | None, writer: Writer) -> None:
    """Put back who wrote what, and which content it is.

    kept is what an earlier collector had in memory; of the accesses only the later ones are read.
    """
    index.add_carriers(_carriers(writer))
    if kept is not None:
        index.add_columns(kept.columns)
    after = (kept.row if kept else -1,)
    writes = writer.arrays(
        "SELECT process_id, version_id, max(last_unix_ns) AS last_ns FROM access "
        "WHERE rowid > ? AND version_id != 0 AND (op IN (2, 5) OR flags & 2 != 0) "
        "GROUP BY process_id, version_id ORDER BY min(first_unix_ns)",
        after,
    )
    index.add_writes(*(writes[name] for name in ("process_id", "version_id", "last_ns")))
    seen = writer.arrays(
        "SELECT version_id, min(first_unix_ns) AS first_ns, "
        "max((op IN (1, 3, 4))::BIGINT) AS was_read FROM access WHERE rowid > ? "
        "GROUP BY version_id",
        after,
    )
    index.restore_seen(seen["version_id"], seen["first_ns"], seen["was_read"])
    digests = writer.arrays(
        "SELECT version_id, artifact_id::BIGINT AS artifact_id, size_bytes FROM version_digest "
        "WHERE artifact_id IS NOT NULL ORDER BY at_unix_ns"
    )
    index.add_digests(*(digests[name] for name in ("version_id", "artifact_id", "size_bytes")))
    linked = writer.arrays(
        "SELECT DISTINCT version_id FROM run_dependency WHERE version_id IS NOT NULL"
    )
    index.mark_linked(linked["version_id"])


def _carriers(writer: Writer) -> list[int]:
    rows = writer.rows(MAYBE_CARRIERS, (sorted(CARRIERS), sorted(CARRIERS)))
    return [row.process_id for row in map(process_of_row, rows) if carries(row)]


def unclassified(writer: Writer) -> tuple[int, list[str]]:
    """Return the paths that have no class yet, and the first of their ids, which follow."""
    found = writer.rows("SELECT coalesce(max(path_id), 0) FROM path_class")
    highest = int(found[0][0])
    rows = writer.rows("SELECT path FROM path WHERE path_id > ? ORDER BY path_id", (highest,))
    return highest + 1, [path for (path,) in rows]
