"""Rows of the database into the messages that answers are made of.

Every statement here is bounded by the runs, versions or artifacts that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from whence_collector.classes import CLASSES
from whence_collector.lineage import ALWAYS
from whence_collector.lookups import Content, contents, paths, where_in
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from whence_collector.store import Reader
    from whence_collector.touches import Sides, Touches

STATES = {1: "verified", 2: "asserted", 3: "torn", 4: "unhashed"}

RUNS = """
SELECT r.run_id, r.kind, r.command, h.name, coalesce(r.user_name, r.uid::VARCHAR, ''),
    r.started_ns, r.status, r.complete, r.ended_ns, r.exit_code, r.parent_run_id, r.cwd,
    r.git_commit, r.git_branch, r.git_dirty, r.repository, r.incomplete_reason, r.project,
    r.lost_records, r.unobserved_ns, r.accounted_bytes, r.seen_bytes,
    r.principal_kind, r.principal, r.acting_for, r.world_size, r.attempts, r.request_id,
    r.git_modified
FROM run r JOIN host h USING (host_id)
"""
HOSTS = "SELECT run_id, host FROM run_hosts"
REPEATED = "SELECT run_id, earlier_run_id FROM repeat"
TAGGED = "SELECT 1 FROM tag WHERE key = 'project' LIMIT 1"
PROJECTS = "SELECT run_id, project FROM run_project"
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
    "lost_records",
    "unobserved_ns",
    "accounted_bytes",
    "seen_bytes",
    "principal_kind",
    "principal",
    "acting_for",
    "world_size",
    "attempts",
    "request_id",
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

OUTPUT_NAMES = "SELECT run_id, version_id, path_id, final_path, deleted FROM run_output_name"
DEPENDENCIES = """
SELECT child_run_id, version_id, parent_run_id, coalesce(written_ns, 0), strength
FROM run_dependency
"""

PROCESSES = """
SELECT process_id, tgid, argv, exe, cwd, at_unix_ns, parent_process_id::VARCHAR FROM process
"""
ENDS = "SELECT process_id, at_unix_ns, exit_code, exit_signal, replaced FROM process_end"
_PROCESS_FIELDS = (
    "process_id",
    "pid",
    "argv",
    "exe",
    "cwd",
    "started_unix_ns",
    "parent_process_id",
)


@dataclass(frozen=True, slots=True)
class File:
    """A file version on one side of a run; times in Unix ns."""

    run_id: str
    version_id: int
    path: str
    file_class: str
    content: Content | None
    bytes: int
    first_ns: int
    last_ns: int
    deleted: bool | None = None

    @property
    def key(self) -> str:
        """Name of the node in a graph: the digest, or the version where there is none."""
        return self.digest or f"version:{self.version_id}"

    @property
    def digest(self) -> str | None:
        """The digest as it is written, None where there is none."""
        content = self.content
        return content.digest if content else None

    def told(self) -> dict[str, Any]:
        """Return digest, state, reason and size as far as they are known."""
        content = self.content
        if content is None:
            return {}
        known = (self.digest, STATES[content.state], content.reason)
        size_bytes = content.size_bytes if content.digest else None
        return given(("digest", "state", "reason", "size_bytes"), (*known, size_bytes))


def given(names: Iterable[str], values: Sequence[Any]) -> dict[str, Any]:
    """Pair names and values and leave out what is not known."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def run_summaries(reader: Reader, run_ids: Iterable[str]) -> dict[str, wire.RunSummary]:
    """Return runs by id; ids that are not known are left out."""
    found: dict[str, wire.RunSummary] = {}
    for *row, modified in where_in(reader, RUNS, "r.run_id", set(run_ids)):
        summary = wire.RunSummary(**given(_RUN_FIELDS, row), git_modified=modified or ())
        found[summary.run_id] = summary
    for run_id, earlier in where_in(reader, REPEATED, "run_id", list(found)):
        found[run_id].repeats_run_id = earlier
    ranked = [each.run_id for each in found.values() if each.HasField("world_size")]
    for run_id, host in where_in(reader, HOSTS, "run_id", ranked):
        found[run_id].hosts.append(host)
        found[run_id].hosts.sort()
    if found and reader.rows(TAGGED):
        for run_id, project in where_in(reader, PROJECTS, "run_id", list(found)):
            found[run_id].project = project
    return found


def add_counts(reader: Reader, runs: Mapping[str, wire.RunSummary]) -> None:
    """Set the numbers of distinct files read and written."""
    for summary in runs.values():
        summary.input_count = summary.output_count = 0
    for run_id, inputs, outputs in reader.rows(COUNTS, (list(runs),)) if runs else ():
        runs[run_id].input_count = inputs
        runs[run_id].output_count = outputs


def read_files(reader: Reader, touches: Touches, sides: Sides) -> list[File]:
    """Return what runs read as files, in the order of the rows."""
    return _files(reader, touches, sides, paths(reader, sides.path_id.tolist()))


def written_files(reader: Reader, touches: Touches, sides: Sides) -> list[File]:
    """Return what runs wrote as files, oldest first, under the names that stand."""
    names = output_names(reader, sides.version_id.tolist())
    texts = paths(reader, sides.path_id.tolist())
    files = []
    for file, path_id in zip(
        _files(reader, touches, sides, texts), sides.path_id.tolist(), strict=True
    ):
        name, deleted = names.get((file.run_id, file.version_id, path_id), (file.path, False))
        files.append(replace(file, path=name, deleted=deleted))
    return sorted(files, key=lambda file: (file.first_ns, file.path))


def _files(reader: Reader, touches: Touches, sides: Sides, texts: Mapping[int, str]) -> list[File]:
    known = contents(reader, sides.version_id.tolist())
    return [
        File(
            run_id=touches.run_ids[run],
            version_id=version_id,
            path=texts[path_id],
            file_class=CLASSES[code],
            content=known.get(version_id),
            bytes=moved,
            first_ns=first_ns,
            last_ns=last_ns,
        )
        for run, version_id, path_id, code, moved, first_ns, last_ns in zip(
            *(getattr(sides, each.name).tolist() for each in fields(sides)), strict=True
        )
    ]


def output_names(
    reader: Reader, version_ids: Iterable[int]
) -> dict[tuple[str, int, int], tuple[str, bool]]:
    """Return (name that stands, deleted) by (run_id, version_id, path_id), where it changed."""
    found = where_in(reader, OUTPUT_NAMES, "version_id", set(version_ids))
    return {(run_id, version, path): (name, gone) for run_id, version, path, name, gone in found}


def producers(reader: Reader, run_ids: Collection[str]) -> dict[tuple[str, int], str]:
    """Return, for (run, version that it read), the run that made the content."""
    newest: dict[tuple[str, int], tuple[bool, int, str]] = {}
    for child, version_id, parent, written_ns, strength in where_in(
        reader, DEPENDENCIES, "child_run_id", run_ids
    ):
        if version_id is not None:
            key = (child, version_id)
            # Beside the writer of a version another maker is told only where that passed it on.
            made = (strength == "same-content", written_ns, parent)
            newest[key] = max(newest.get(key, (False, -1, "")), made)
    return {key: parent for key, (_, _, parent) in newest.items()}


def processes(reader: Reader, process_ids: Collection[int]) -> list[wire.ProcessSummary]:
    """Return programs in the order of their start."""
    ends = {row[0]: row[1:] for row in where_in(reader, ENDS, "process_id", process_ids)}
    found = []
    for process_id, *row in where_in(reader, PROCESSES, "process_id", process_ids):
        summary = wire.ProcessSummary(**given(_PROCESS_FIELDS, (str(process_id), *row)))
        if process_id in ends:
            ended_ns, exit_code, exit_signal, replaced = ends[process_id]
            summary.ended_unix_ns = ended_ns
            if exit_signal:
                summary.exit_signal = exit_signal
            elif not replaced and exit_code is not None:  # an end that a walk found has no code
                summary.exit_code = exit_code
        found.append(summary)
    return sorted(found, key=lambda process: process.started_unix_ns)


def file_edge(file: File, producer: wire.RunSummary | None = None) -> wire.FileEdge:
    """Return a file version as one side of a run."""
    edge = wire.FileEdge(
        path=file.path,
        first_unix_ns=file.first_ns,
        last_unix_ns=file.last_ns,
        bytes=file.bytes,
        **file.told(),
        **given(("deleted",), (file.deleted,)),
    )
    setattr(edge, "class", file.file_class)  # a keyword, so no argument can name it
    if producer is not None:
        edge.producer_run_id = producer.run_id
        edge.producer_command = producer.command
    return edge


def everything(run_ids: Iterable[str]) -> dict[str, int]:
    """Return bounds that let all reads of the runs count."""
    return dict.fromkeys(run_ids, ALWAYS)
