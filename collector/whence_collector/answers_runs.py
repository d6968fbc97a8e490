"""The answers to ListRuns and GetRun. Reads only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.answers_origin import FOLDED
from whence_collector.answers_recipe import changed_code, packages, remarks, variables
from whence_collector.answers_said import metrics_of, tags_of_runs
from whence_collector.answers_trees import tree_edges
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lookups import among, members_of
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.graph import Graph
    from whence_collector.store import Reader
    from whence_collector.touches import Sides

LIST_DEFAULT, LIST_CAP = 50, 10_000
FILES_DEFAULT, FILES_CAP = 1_000, 100_000
PROCESSES_LISTED = 1_000
STEPS_LISTED = 10_000
STATUSES = ("running", "succeeded", "failed", "killed", "unknown")

PAGE_RUNS = 200

# Everyday session hosts, the daemon's own canaries and questions are listed by nobody's wish.
# A script belongs to a project too when one of its steps says so.
WANTED = """
WITH RECURSIVE tagged_so AS (
    SELECT run_id FROM run_label WHERE key = 'project' AND value = ?4
    UNION
    SELECT r.parent_run_id FROM tagged_so JOIN run r USING (run_id)
    WHERE r.parent_run_id IS NOT NULL
)
SELECT r.run_id FROM run r LEFT JOIN run_project p ON p.run_id = r.run_id
WHERE r.kind NOT IN ('canary', 'question')
    AND (?1 OR r.parent_run_id IS NULL)
    AND (?2 OR r.kind != 'session')
    AND (?3 IS NULL OR r.user_name = ?3 OR r.uid::VARCHAR = ?3)
    AND (?4 IS NULL OR coalesce(p.project, r.project) = ?4
        OR r.run_id IN (SELECT run_id FROM tagged_so))
    AND (?5 IS NULL OR r.started_ns >= ?5)
    AND (?6 IS NULL OR r.status = ?6)
    AND (NOT ?7 OR r.run_id IN (
        SELECT m.run_id FROM gpu_hold g JOIN process_run m USING (process_id)))
ORDER BY r.started_ns DESC, r.run_id LIMIT ?8 OFFSET ?9
"""
# A script wrote what its steps wrote.
WRITERS = """
WITH RECURSIVE family AS (
    SELECT run_id AS top_id, run_id FROM run WHERE {among_runs}
    UNION
    SELECT f.top_id, r.run_id FROM family f JOIN run r ON r.parent_run_id = f.run_id
)
SELECT DISTINCT f.top_id
FROM family f
JOIN process_run m ON m.run_id = f.run_id
JOIN access a ON a.process_id = m.process_id
JOIN path_class k ON k.path_id = a.path_id AND k.class IS NOT NULL
WHERE a.op IN (2, 5) OR a.flags & 2 != 0
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


def list_runs(reader: Reader, request: wire.ListRunsRequest) -> wire.ListRunsReply:
    """Answer ListRuns; raises InvalidRequest for an unknown status."""
    if request.status and request.status not in STATUSES:
        raise InvalidRequest(
            f"status {request.status!r} does not exist; use one of {', '.join(STATUSES)}"
        )
    limit = min(request.limit or LIST_DEFAULT, LIST_CAP)
    ids = _listed(reader, request, limit + 1)
    runs = rows.run_summaries(reader, ids[:limit])
    rows.add_counts(reader, runs)
    return wire.ListRunsReply(
        runs=[runs[run_id] for run_id in ids[:limit] if run_id in runs], truncated=len(ids) > limit
    )


def _listed(reader: Reader, request: wire.ListRunsRequest, limit: int) -> list[str]:
    """Return the runs that pass the filters, newest first, looking no further than needed."""
    params = (
        request.steps,
        request.all,
        request.user or None,
        request.project or None,
        request.since_unix_ns if request.HasField("since_unix_ns") else None,
        request.status or None,
        request.gpu,
    )
    size = limit if request.all else max(limit, PAGE_RUNS)
    ids: list[str] = []
    page, seen = [""], 0
    while page and len(ids) < limit:
        page = [run_id for (run_id,) in reader.rows(WANTED, (*params, size, seen))]
        seen += size
        ids += page if request.all else _writers(reader, page)
    return ids[:limit]


def _writers(reader: Reader, run_ids: list[str]) -> list[str]:
    if not run_ids:
        return []
    condition, params = among("run_id", run_ids)
    found = {run_id for (run_id,) in reader.rows(WRITERS.format(among_runs=condition), params)}
    return [run_id for run_id in run_ids if run_id in found]


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


def get_run(reader: Reader, graph: Graph, request: wire.GetRunRequest) -> wire.RunDetail:
    """Answer GetRun; raises as resolve_run does."""
    run_id = resolve_run(reader, request.run_id)
    family = family_of(reader, run_id)
    limit = min(request.limit or FILES_DEFAULT, FILES_CAP)
    touched = touches.load(reader, graph.classes, family)
    bounds = rows.everything(family)
    classes = CLASSES if request.all_classes else SHOWN
    read = _once(touched.inputs(bounds, classes, as_one=True))
    wrote = _once(touched.outputs(family))
    inputs = rows.read_files(reader, touched, read.only(slice(limit)))
    outputs = rows.written_files(reader, touched, wrote.only(slice(limit)))
    origin = rows.producers(reader, family)
    runs = rows.run_summaries(reader, {*family[: STEPS_LISTED + 1], *origin.values()})
    members = sorted(members_of(reader, family))
    about = remarks(reader, [file.version_id for file in (*inputs, *outputs)])
    detail = wire.RunDetail(
        run=runs[run_id],
        processes=rows.processes(reader, members[:PROCESSES_LISTED]),
        outputs=[about.mark(file.version_id, rows.file_edge(file)) for file in outputs],
        steps=sorted(
            (runs[each] for each in family[1 : STEPS_LISTED + 1]),
            key=lambda run: run.started_unix_ns,
        ),
        truncated=touched.truncated
        or max(len(read), len(wrote)) > limit
        or len(members) > PROCESSES_LISTED
        or len(family) > STEPS_LISTED,
    )
    if not request.all_classes:
        detail.library_count = len(touched.inputs(bounds, FOLDED, as_one=True))
    for file in inputs:
        producer = origin.get((file.run_id, file.version_id))
        edge = rows.file_edge(file, runs.get(producer or ""))
        detail.inputs.append(about.mark(file.version_id, edge))
    detail.packages.extend(packages(reader, family))
    detail.environment.extend(variables(reader, run_id))
    detail.code_changes.extend(changed_code(reader, family))
    for edges in tree_edges(reader, family).values():
        detail.trees.extend(edges)
    detail.tags.extend(tags_of_runs(reader, family))
    detail.metrics.extend(metrics_of(reader, members))
    counts = (len(read), len(wrote)) if len(family) > 1 else touched.counts(run_id)
    detail.run.input_count, detail.run.output_count = counts
    return detail


def _once(sides: Sides) -> Sides:
    """Keep one row per version, the oldest: steps of one script may share a file."""
    _, first = np.unique(sides.version_id, return_index=True)
    return sides.only(np.sort(first))
