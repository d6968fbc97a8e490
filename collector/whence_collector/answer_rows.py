"""Rows of the database into the messages that answers are made of.

Every statement here is bounded by the runs, versions or artifacts that it is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence_collector.classes import CLASSES, SHOWN
from whence_collector.lineage import ALWAYS
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.store import Reader, Row

STATES = {1: "verified", 2: "asserted", 3: "torn", 4: "unhashed"}

RUNS = """
SELECT r.run_id, r.kind, r.command, h.name, coalesce(r.user_name, r.uid::VARCHAR, ''),
    r.started_ns, r.status, r.complete, r.ended_ns, r.exit_code, r.parent_run_id, r.cwd,
    r.git_commit, r.git_branch, r.git_dirty, r.repository, r.incomplete_reason, r.project,
    r.git_modified
FROM run r JOIN host h USING (host_id)
WHERE r.run_id IN (SELECT unnest(?::VARCHAR[]))
"""
_RUN_FIELDS = [
    "run_id",
    "kind",
    "command",
    "host",
    "user",
    "started_unix_ns",
    "status",
    "complete",
    "ended_unix_ns",
    "exit_code",
    "parent_run_id",
    "cwd",
    "git_commit",
    "git_branch",
    "git_dirty",
    "git_repository",
    "incomplete_reason",
    "project",
]

COUNTS = """
WITH member AS (
    SELECT process_id, run_id FROM process_run WHERE run_id IN (SELECT unnest(?::VARCHAR[]))
), touched AS (
    SELECT m.run_id, a.version_id,
        bool_or(a.op IN (1, 3, 4)) AS was_read,
        bool_or(a.op IN (2, 5) OR a.flags & 2 != 0) AS was_written
    FROM access a JOIN member m USING (process_id)
    JOIN path_class k ON k.path_id = a.path_id AND k.class IS NOT NULL
    GROUP BY m.run_id, a.version_id
)
SELECT run_id, count(*) FILTER (was_read AND NOT was_written), count(*) FILTER (was_written)
FROM touched GROUP BY run_id
"""

MEMBERS = """
SELECT process_id, run_id FROM process_run WHERE run_id IN (SELECT unnest(?::VARCHAR[]))
"""
# Per part (one run, or all of them as one) and version: what was read before a time and had not
# been made by the part itself. Three plain statements take a third of the time of one that joins
# everything: planning is most of it.
TOUCHED = """
WITH member AS (
    SELECT unnest(?::BIGINT[]) AS process_id, unnest(?::INTEGER[]) AS nth,
        unnest(?::INTEGER[]) AS part, unnest(?::BIGINT[]) AS bound_ns
)
SELECT arg_min(m.nth, a.first_unix_ns) FILTER (a.op IN (1, 3, 4)), a.version_id,
    arg_min(a.path_id, a.first_unix_ns) FILTER (a.op IN (1, 3, 4)), bool_or(a.op = 3),
    (sum(a.bytes) FILTER (a.op IN (1, 3, 4)))::BIGINT,
    min(a.first_unix_ns) FILTER (a.op IN (1, 3, 4)) AS first_ns,
    max(a.last_unix_ns) FILTER (a.op IN (1, 3, 4)),
    min(a.first_unix_ns) FILTER (a.op IN (2, 5) OR a.flags & 2 != 0) AS made_ns
FROM access a
JOIN member m USING (process_id)
JOIN path_class k USING (path_id)
WHERE a.first_unix_ns <= m.bound_ns
    AND (list_contains(?, k.class) OR list_contains(?, k.executed_class))
    AND (NOT ? OR a.version_id NOT IN (
        SELECT version_id FROM run_dependency
        WHERE version_id IS NOT NULL AND child_run_id IN (SELECT unnest(?::VARCHAR[]))))
GROUP BY m.part, a.version_id
HAVING first_ns IS NOT NULL AND (made_ns IS NULL OR first_ns < made_ns)
ORDER BY first_ns, a.version_id LIMIT ?
"""
DESCRIBED = """
SELECT w.nth, n.path, k.class, k.executed_class, d.artifact_id, lower(hex(a.blake3)), d.state,
    d.reason, d.size_bytes
FROM (
    SELECT unnest(?::BIGINT[]) AS version_id, unnest(?::INTEGER[]) AS path_id,
        unnest(range(?)) AS nth
) w
JOIN path n ON n.path_id = w.path_id
JOIN path_class k ON k.path_id = w.path_id
LEFT JOIN version_digest d ON d.version_id = w.version_id
LEFT JOIN artifact a ON a.artifact_id = d.artifact_id
"""
UNLIMITED = 2**31

OUTPUT_ROWS = """
WITH member AS (
    SELECT process_id, run_id FROM process_run WHERE run_id IN (SELECT unnest(?::VARCHAR[]))
), touch AS (
    SELECT m.run_id, a.version_id,
        arg_max(a.path_id, a.last_unix_ns) AS path_id,
        min(a.first_unix_ns) AS first_ns, max(a.last_unix_ns) AS last_ns, sum(a.bytes) AS bytes
    FROM access a JOIN member m USING (process_id)
    WHERE a.op IN (2, 5) OR a.flags & 2 != 0
    GROUP BY m.run_id, a.version_id
)
SELECT t.run_id, t.version_id, coalesce(o.final_path, n.path), k.class, d.artifact_id,
    lower(hex(a.blake3)), d.state, d.reason, d.size_bytes, t.bytes::BIGINT, t.first_ns, t.last_ns,
    coalesce(o.deleted, false)
FROM touch t
JOIN path n ON n.path_id = t.path_id
JOIN path_class k ON k.path_id = t.path_id AND k.class IS NOT NULL
LEFT JOIN run_output_name o
    ON o.run_id = t.run_id AND o.version_id = t.version_id AND o.path_id = t.path_id
LEFT JOIN version_digest d ON d.version_id = t.version_id
LEFT JOIN artifact a ON a.artifact_id = d.artifact_id
ORDER BY t.first_ns, n.path LIMIT ?
"""

PRODUCERS = """
SELECT d.child_run_id, d.version_id, arg_max(d.parent_run_id, coalesce(d.written_ns, 0))
FROM run_dependency d
WHERE d.child_run_id IN (SELECT unnest(?::VARCHAR[])) AND d.version_id IS NOT NULL
GROUP BY d.child_run_id, d.version_id
"""

PROCESSES = """
SELECT p.process_id::VARCHAR, p.tgid, p.argv, p.exe, p.cwd, p.at_unix_ns, e.at_unix_ns,
    CASE WHEN e.exit_signal = 0 AND NOT e.replaced THEN e.exit_code END,
    nullif(e.exit_signal, 0), p.parent_process_id::VARCHAR
FROM process p
LEFT JOIN process_end e ON e.process_id = p.process_id
WHERE p.process_id IN (SELECT unnest(?::BIGINT[]))
ORDER BY p.at_unix_ns LIMIT ?
"""
_PROCESS_FIELDS = [
    "process_id",
    "pid",
    "argv",
    "exe",
    "cwd",
    "started_unix_ns",
    "ended_unix_ns",
    "exit_code",
    "exit_signal",
    "parent_process_id",
]


@dataclass(frozen=True, slots=True)
class File:
    """A file version on one side of a run; times in Unix ns."""

    run_id: str
    version_id: int
    path: str
    file_class: str
    artifact_id: int | None
    blake3: str | None
    state: int | None
    reason: str | None
    size_bytes: int | None
    bytes: int | None
    first_ns: int
    last_ns: int
    deleted: bool | None = None

    @property
    def key(self) -> str:
        """Name of the node in a graph: the digest, or the version where there is none."""
        return f"blake3:{self.blake3}" if self.blake3 else f"version:{self.version_id}"


def given(names: Iterable[str], values: Sequence[Any]) -> dict[str, Any]:
    """Pair names and values and leave out what is not known."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def run_summaries(reader: Reader, run_ids: Collection[str]) -> dict[str, wire.RunSummary]:
    """Return the runs by id; ids that are not known are left out."""
    found = {}
    for row in reader.rows(RUNS, (list(run_ids),)) if run_ids else ():
        modified = row[-1] or []
        summary = wire.RunSummary(**given(_RUN_FIELDS, row[:-1]), git_modified=modified)
        found[summary.run_id] = summary
    return found


def add_counts(reader: Reader, runs: Mapping[str, wire.RunSummary]) -> None:
    """Set the numbers of distinct files read and written."""
    for summary in runs.values():
        summary.input_count = summary.output_count = 0
    for run_id, inputs, outputs in reader.rows(COUNTS, (list(runs),)) if runs else ():
        runs[run_id].input_count = inputs
        runs[run_id].output_count = outputs


def inputs(
    reader: Reader,
    bounds: Mapping[str, int],
    limit: int,
    *,
    classes: Collection[str] = SHOWN,
    as_one: bool = False,
    roots: bool = False,
) -> list[File]:
    """Return what runs read up to their bounds (Unix ns), oldest first.

    as_one takes the runs as one: what one of them wrote is no input of another. roots leaves out
    what an observed run made.
    """
    touched = _touched(reader, bounds, limit, classes, as_one=as_one, roots=roots)
    run_ids = list(bounds)
    params = ([row[1] for row in touched], [row[2] for row in touched], len(touched))
    described = {row[0]: row[1:] for row in reader.rows(DESCRIBED, params)} if touched else {}
    files = []
    for nth, row in enumerate(touched):
        run, version_id, _, executed, moved_bytes, first_ns, last_ns, _ = row
        path, own_class, executed_class, *content = described[nth]
        file_class = executed_class if executed else own_class
        if file_class in classes:
            named = (run_ids[run], version_id, path, file_class)
            files.append(File(*(*named, *content, moved_bytes, first_ns, last_ns)))
    return files


def folded_count(reader: Reader, bounds: Mapping[str, int], *, as_one: bool = False) -> int:
    """Return how many inputs are of the classes that are not shown."""
    folded = [each for each in CLASSES if each not in SHOWN]
    return len(_touched(reader, bounds, UNLIMITED, folded, as_one=as_one, roots=False))


def _touched(
    reader: Reader,
    bounds: Mapping[str, int],
    limit: int,
    classes: Collection[str],
    *,
    as_one: bool,
    roots: bool,
) -> list[Row]:
    run_ids = list(bounds)
    position = {run_id: nth for nth, run_id in enumerate(run_ids)}
    members = reader.rows(MEMBERS, (run_ids,)) if run_ids else []
    nths = [position[run_id] for _, run_id in members]
    wanted = list(classes)
    return reader.rows(
        TOUCHED,
        (
            [process_id for process_id, _ in members],
            nths,
            [0] * len(nths) if as_one else nths,
            [bounds[run_id] for _, run_id in members],
            wanted,
            wanted,
            roots,
            run_ids if roots else [],
            limit,
        ),
    )


def outputs(reader: Reader, run_ids: Collection[str], limit: int) -> list[File]:
    """Return what runs wrote, oldest first, under the names that stand."""
    rows = reader.rows(OUTPUT_ROWS, (list(run_ids), limit)) if run_ids else []
    return [File(*row) for row in rows]


def producers(reader: Reader, run_ids: Collection[str]) -> dict[tuple[str, int], str]:
    """Return, for (run, version that it read), the run that made the content."""
    rows = reader.rows(PRODUCERS, (list(run_ids),)) if run_ids else []
    return {(child, version_id): parent for child, version_id, parent in rows}


def processes(
    reader: Reader, process_ids: Collection[int], limit: int
) -> list[wire.ProcessSummary]:
    """Return programs in the order of their start."""
    rows = reader.rows(PROCESSES, (list(process_ids), limit)) if process_ids else []
    return [wire.ProcessSummary(**given(_PROCESS_FIELDS, row)) for row in rows]


def file_edge(file: File, producer: wire.RunSummary | None = None) -> wire.FileEdge:
    """Return a file version as one side of a run."""
    edge = wire.FileEdge(
        path=file.path,
        first_unix_ns=file.first_ns,
        last_unix_ns=file.last_ns,
        **given(
            ("digest", "state", "reason", "size_bytes", "bytes", "deleted"),
            (
                file.key if file.blake3 else None,
                STATES.get(file.state or 0),
                file.reason,
                file.size_bytes if file.blake3 else None,
                file.bytes,
                file.deleted,
            ),
        ),
    )
    setattr(edge, "class", file.file_class)  # a keyword, so no argument can name it
    if producer is not None:
        edge.producer_run_id = producer.run_id
        edge.producer_command = producer.command
    return edge


def everything(run_ids: Iterable[str]) -> dict[str, int]:
    """Return bounds that let all reads of the runs count."""
    return dict.fromkeys(run_ids, ALWAYS)
