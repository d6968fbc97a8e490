"""The answers to ListRuns and GetRun. Reads only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.errors import InvalidRequest, NotFound
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.store import Reader

LIST_DEFAULT, LIST_CAP = 50, 10_000
FILES_DEFAULT, FILES_CAP = 1_000, 100_000
PROCESSES_LISTED = 1_000
STEPS_LISTED = 10_000
STATUSES = ("running", "succeeded", "failed", "killed")

# A script wrote what its steps wrote. Everyday session hosts and the daemon's own
# canaries and questions are listed by nobody's wish.
LIST = """
WITH RECURSIVE wanted AS (
    SELECT r.run_id, r.started_ns FROM run r
    WHERE r.kind NOT IN ('canary', 'question')
        AND (?1 OR r.parent_run_id IS NULL)
        AND (?2 OR r.kind != 'session')
        AND (?3 IS NULL OR r.user_name = ?3 OR r.uid::VARCHAR = ?3)
        AND (?4 IS NULL OR r.project = ?4)
        AND (?5 IS NULL OR r.started_ns >= ?5)
        AND (?6 IS NULL OR r.status = ?6)
        AND (NOT ?7 OR r.run_id IN (SELECT run_id FROM gpu_hold))
), family AS (
    SELECT run_id AS top_id, run_id FROM wanted
    UNION
    SELECT f.top_id, r.run_id FROM family f JOIN run r ON r.parent_run_id = f.run_id
), writers AS (
    SELECT DISTINCT m.run_id
    FROM access a
    JOIN path_class k ON k.path_id = a.path_id AND k.class IS NOT NULL
    JOIN process_run m ON m.process_id = a.process_id
    WHERE a.op IN (2, 5) OR a.flags & 2 != 0
)
SELECT w.run_id FROM wanted w
WHERE ?2 OR w.run_id IN (SELECT top_id FROM family WHERE run_id IN (SELECT run_id FROM writers))
ORDER BY w.started_ns DESC, w.run_id LIMIT ?8
"""
BY_PREFIX = """
SELECT run_id FROM run WHERE starts_with(run_id, ?)
UNION
SELECT into_run_id FROM run_alias WHERE starts_with(run_id, ?)
LIMIT 5
"""
FAMILY = """
WITH RECURSIVE family AS (
    SELECT run_id, 0 AS depth FROM run WHERE run_id = ?
    UNION
    SELECT r.run_id, f.depth + 1 FROM family f JOIN run r ON r.parent_run_id = f.run_id
)
SELECT f.run_id FROM family f JOIN run r USING (run_id) ORDER BY f.depth, r.started_ns
"""
MEMBERS = """
SELECT process_id FROM process_run WHERE run_id IN (SELECT unnest(?::VARCHAR[]))
ORDER BY process_id LIMIT ?
"""


def list_runs(reader: Reader, request: wire.ListRunsRequest) -> wire.ListRunsReply:
    """Answer ListRuns; raises InvalidRequest for an unknown status."""
    if request.status and request.status not in STATUSES:
        raise InvalidRequest(
            f"status {request.status!r} does not exist; use one of {', '.join(STATUSES)}"
        )
    limit = min(request.limit or LIST_DEFAULT, LIST_CAP)
    params = (
        request.steps,
        request.all,
        request.user or None,
        request.project or None,
        request.since_unix_ns if request.HasField("since_unix_ns") else None,
        request.status or None,
        request.gpu,
        limit + 1,
    )
    ids = [run_id for (run_id,) in reader.rows(LIST, params)]
    runs = rows.run_summaries(reader, ids[:limit])
    rows.add_counts(reader, runs)
    return wire.ListRunsReply(
        runs=[runs[run_id] for run_id in ids[:limit] if run_id in runs], truncated=len(ids) > limit
    )


def resolve_run(reader: Reader, text: str) -> str:
    """Return the run id that a prefix of at least 4 digits means.

    Raises InvalidRequest when it is no id or means several, NotFound when it means none.
    """
    if not re.fullmatch(r"[0-9a-f]{4,16}", text):
        raise InvalidRequest(f"{text!r} is no run; write 4 to 16 hexadecimal digits of its id")
    found = [run_id for (run_id,) in reader.rows(BY_PREFIX, (text, text))]
    if not found:
        raise NotFound(f"no run begins with {text}; `whence log` lists runs")
    if len(found) > 1:
        raise InvalidRequest(f"{text} means several runs ({', '.join(found)}); write more digits")
    return str(found[0])


def family_of(reader: Reader, run_id: str) -> list[str]:
    """Return a run and all of its steps, nearest first."""
    return [each for (each,) in reader.rows(FAMILY, (run_id,))]


def get_run(reader: Reader, request: wire.GetRunRequest) -> wire.RunDetail:
    """Answer GetRun; raises as resolve_run does."""
    run_id = resolve_run(reader, request.run_id)
    family = family_of(reader, run_id)
    limit = min(request.limit or FILES_DEFAULT, FILES_CAP)
    classes = CLASSES if request.all_classes else SHOWN
    bounds = rows.everything(family)
    read = rows.inputs(reader, bounds, limit + 1, classes=classes, as_one=True)
    wrote = rows.outputs(reader, family, limit + 1)
    origin = rows.producers(reader, family)
    runs = rows.run_summaries(reader, {*family[: STEPS_LISTED + 1], *origin.values()})
    members = [process_id for (process_id,) in reader.rows(MEMBERS, (family, PROCESSES_LISTED + 1))]
    rows.add_counts(reader, {run_id: runs[run_id]})
    detail = wire.RunDetail(
        run=runs[run_id],
        processes=rows.processes(reader, members, PROCESSES_LISTED),
        outputs=[rows.file_edge(file) for file in _once(wrote)[:limit]],
        steps=sorted(
            (runs[each] for each in family[1 : STEPS_LISTED + 1]),
            key=lambda run: run.started_unix_ns,
        ),
        library_count=0 if request.all_classes else rows.folded_count(reader, bounds, as_one=True),
        truncated=max(len(read), len(wrote)) > limit
        or len(members) > PROCESSES_LISTED
        or len(family) > STEPS_LISTED,
    )
    for file in _once(read)[:limit]:
        producer = origin.get((file.run_id, file.version_id))
        detail.inputs.append(rows.file_edge(file, runs.get(producer or "")))
    if len(family) > 1:
        detail.run.input_count, detail.run.output_count = len(_once(read)), len(_once(wrote))
    return detail


def _once(files: list[rows.File]) -> list[rows.File]:
    """Keep one row per version: steps of one script may share a file."""
    return list({file.version_id: file for file in reversed(files)}.values())[::-1]
