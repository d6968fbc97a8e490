"""The answer to Find: a content, who made it from what, who read it, what a path held.

Reads only; each question is a function of a reader and the lineage graph.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lineage import ALWAYS, Lineage, Reached
from whence_collector.names import Change, Written, standing_names
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whence_collector.store import Reader, Row

PREFIX_DIGITS = 6
CANDIDATES = 20
LISTED = 50  # consumers, versions of a path
PRODUCTIONS = 20
INPUTS_LISTED = 1000
ROOTS_LISTED = 200
ANCESTRY_LISTED = 200
ROOT_CLASSES = ("data", "model", "config")

ARTIFACTS = """
SELECT artifact_id, lower(hex(blake3)), lower(hex(sha256)), size_bytes, first_seen_ns
FROM artifact WHERE blake3 >= from_hex(?) AND blake3 <= from_hex(?) ORDER BY blake3 LIMIT ?
"""
LAST_SEEN = """
SELECT n.path, h.name
FROM version_digest d
JOIN path n USING (path_id)
JOIN file_version v ON v.version_id = d.version_id
JOIN boot b ON b.boot_id = v.boot_id
JOIN host h ON h.host_id = b.host_id
WHERE d.artifact_id = ? ORDER BY d.at_unix_ns DESC LIMIT 1
"""
# Who wrote a content; a shared writable mapping may be written until its process ends.
MADE = """
SELECT m.run_id, a.version_id, arg_max(a.process_id, a.last_unix_ns),
    arg_max(a.path_id, a.last_unix_ns), max(a.last_unix_ns), bool_or(a.flags & 2 != 0)
FROM access a
JOIN process_run m USING (process_id)
WHERE a.version_id IN (SELECT version_id FROM version_digest WHERE artifact_id = ?)
    AND (a.op IN (2, 5) OR a.flags & 2 != 0)
GROUP BY m.run_id, a.version_id
ORDER BY max(a.last_unix_ns) DESC LIMIT ?
"""
CONSUMERS = """
SELECT m.run_id, min(a.first_unix_ns)
FROM access a
JOIN process_run m USING (process_id)
JOIN run r ON r.run_id = m.run_id AND r.kind NOT IN ('canary', 'question')
WHERE a.version_id IN (SELECT version_id FROM version_digest WHERE artifact_id = ?)
    AND a.op IN (1, 3, 4)
GROUP BY m.run_id
ORDER BY min(a.first_unix_ns) DESC LIMIT ?
"""
PATH_VERSIONS = """
WITH touched AS (
    SELECT a.process_id, a.version_id, a.op, max(a.last_unix_ns) AS last_ns
    FROM access a
    WHERE a.path_id IN (SELECT path_id FROM path WHERE path = ?)
    GROUP BY a.process_id, a.version_id, a.op
    UNION ALL
    SELECT c.process_id, c.version_id, 10 + c.change, c.at_unix_ns
    FROM name_change c
    WHERE c.path_id IN (SELECT path_id FROM path WHERE path = ?)
        OR c.new_path_id IN (SELECT path_id FROM path WHERE path = ?)
)
SELECT lower(hex(t.blake3)), d.state, d.reason, w.op, m.run_id, w.last_ns, h.name
FROM touched w
JOIN process p ON p.process_id = w.process_id
JOIN boot b ON b.boot_id = p.boot_id
JOIN host h ON h.host_id = b.host_id
LEFT JOIN process_run m ON m.process_id = w.process_id
LEFT JOIN version_digest d ON d.version_id = w.version_id
LEFT JOIN artifact t ON t.artifact_id = d.artifact_id
WHERE ? IS NULL OR h.name = ?
ORDER BY w.last_ns DESC LIMIT ?
"""
OPS = {
    1: "read",
    2: "write",
    3: "execute",
    4: "map",
    5: "truncate",
    11: "rename",
    12: "link",
    13: "delete",
    14: "rename",
}
NAMED = """
WITH made AS (
    SELECT unnest(?::VARCHAR[]) AS run_id, unnest(?::BIGINT[]) AS version_id,
        unnest(?::INTEGER[]) AS path_id, unnest(range(1000)) AS nth
)
SELECT m.nth, coalesce(o.final_path, n.path)
FROM made m
JOIN path n ON n.path_id = m.path_id
LEFT JOIN run_output_name o
    ON o.path_id = m.path_id AND o.run_id = m.run_id AND o.version_id = m.version_id
WHERE m.run_id IS NOT NULL
"""
# Whether any of these outputs can have moved since: mostly not, and the rest is not asked.
MOVED = """
SELECT 1 FROM name_change
WHERE (version_id IN (SELECT unnest(?::BIGINT[])) OR directory) AND at_unix_ns > ? LIMIT 1
"""
# Later changes on the same host: of any folder, or of this very name and those it got.
LATER_CHANGES = """
SELECT c.change, n.path, coalesce(x.path, ''), c.at_unix_ns
FROM name_change c
JOIN process p ON p.process_id = c.process_id
JOIN process q ON q.process_id = ? AND q.boot_id = p.boot_id
    AND q.mount_namespace = p.mount_namespace
JOIN path n ON n.path_id = c.path_id
LEFT JOIN path x ON x.path_id = c.new_path_id
WHERE c.at_unix_ns > ? AND (c.directory OR c.version_id = ?)
ORDER BY c.at_unix_ns
"""


@dataclass(frozen=True, slots=True)
class _Made:
    run_id: str
    version_id: int
    process_id: int
    path_id: int
    written_ns: int
    mapped: bool

    @property
    def bound_ns(self) -> int:
        """Reads up to here can be in the content."""
        return ALWAYS if self.mapped else self.written_ns


def find(reader: Reader, lineage: Lineage, request: wire.FindRequest) -> wire.FindReply:
    """Answer Find.

    Raises InvalidRequest for a malformed digest, NotFound when nothing at all is known of a
    digest that was asked for without a path.
    """
    if not request.digest and not request.path:
        raise InvalidRequest("Find needs a digest or a path; give one of them")
    reply = wire.FindReply()
    if request.path:
        _add_path_versions(reader, request, reply)
    if not request.digest:
        return reply
    found = artifacts_of(reader, request.digest, CANDIDATES)
    if len(found) > 1:
        reply.candidates.extend(f"blake3:{row[1]}" for row in found)
    elif found:
        _add_artifact(reader, lineage, found[0], request, reply)
    elif not request.path:
        raise NotFound(f"no content with digest {request.digest} was ever seen")
    return reply


def artifacts_of(reader: Reader, digest: str, limit: int) -> list[Row]:
    """Return rows of artifacts whose digest begins as given; raises InvalidRequest.

    A row is (artifact_id, blake3, sha256, size_bytes, first_seen_ns), digests in hexadecimal.
    """
    digits = digest.removeprefix("blake3:").lower()
    if not re.fullmatch(rf"[0-9a-f]{{{PREFIX_DIGITS},64}}", digits):
        raise InvalidRequest(
            f"{digest!r} is no digest; write blake3: and {PREFIX_DIGITS} to 64 hexadecimal digits"
        )
    return reader.rows(ARTIFACTS, (digits.ljust(64, "0"), digits.ljust(64, "f"), limit))


def productions_of(reader: Reader, artifact_id: int, limit: int) -> list[tuple[str, int, int]]:
    """Return (run_id, version_id, bound of its reads in Unix ns) of who wrote a content."""
    made = [_Made(*row) for row in reader.rows(MADE, (artifact_id, limit))]
    return [(each.run_id, each.version_id, each.bound_ns) for each in made]


def consumers_of(reader: Reader, artifact_id: int, limit: int) -> list[tuple[str, int]]:
    """Return (run_id, first read in Unix ns) of who read a content, newest first."""
    return reader.rows(CONSUMERS, (artifact_id, limit))


def _add_artifact(
    reader: Reader, lineage: Lineage, row: Row, request: wire.FindRequest, reply: wire.FindReply
) -> None:
    artifact_id, blake3, sha256, size_bytes, first_seen_ns = row
    seen = reader.rows(LAST_SEEN, (artifact_id,))
    path, host = seen[0] if seen else (None, None)
    reply.artifact.CopyFrom(
        wire.Artifact(
            **rows.given(
                ("digest", "sha256", "size_bytes", "first_seen_unix_ns", "last_path", "host"),
                (f"blake3:{blake3}", sha256, size_bytes, first_seen_ns, path, host),
            )
        )
    )
    made = [_Made(*each) for each in reader.rows(MADE, (artifact_id, PRODUCTIONS))]
    runs = rows.run_summaries(reader, {each.run_id for each in made})
    made = [each for each in made if each.run_id in runs]
    names = _names_now(reader, made, runs)
    readers = {run_id for run_id, _ in consumers_of(reader, artifact_id, LISTED)}
    made.sort(key=lambda each: _rank(names[each], runs[each.run_id], readers, request))
    processes = rows.processes(reader, [each.process_id for each in made], PRODUCTIONS)
    by_id = {process.process_id: process for process in processes}
    rows.add_counts(reader, runs)
    for each in made:
        production = wire.Production(
            run=runs[each.run_id],
            process=by_id.get(str(each.process_id)),
            path=names[each],
            written_unix_ns=each.written_ns,
            complete=True,
            truncated=True,
        )
        if each is made[0]:
            _add_origin(reader, lineage, each, production)
        reply.productions.append(production)
    _add_consumers(reader, artifact_id, reply)


def _rank(name: str, run: wire.RunSummary, readers: set[str], request: wire.FindRequest) -> int:
    """Order productions: of the very path that was asked for, then what is no mere copy."""
    if name == request.path and request.host in ("", run.host):
        return 0
    return 2 if run.run_id in readers else 1


def _add_consumers(reader: Reader, artifact_id: int, reply: wire.FindReply) -> None:
    made = {production.run.run_id for production in reply.productions}
    ids = [run_id for run_id, _ in consumers_of(reader, artifact_id, LISTED + len(made))]
    runs = rows.run_summaries(reader, ids)
    listed = [run_id for run_id in ids if run_id in runs and run_id not in made]
    reply.consumers.extend(runs[run_id] for run_id in listed[:LISTED])


def _names_now(
    reader: Reader, made: Sequence[_Made], runs: Mapping[str, wire.RunSummary]
) -> dict[_Made, str]:
    """Return the outputs' names with all renames applied, those after their runs too."""
    keys = [each.run_id for each in made], [each.version_id for each in made]
    named = reader.rows(NAMED, (*keys, [each.path_id for each in made]))
    names = {made[position]: str(path) for position, path in named}
    since = {
        each: max(each.written_ns, runs[each.run_id].ended_unix_ns)
        for each in made
        if each in names
    }
    moved = reader.rows(MOVED, (keys[1], min(since.values(), default=0)))
    for each in since if moved else ():
        changes = reader.rows(LATER_CHANGES, (each.process_id, since[each], each.version_id))
        written = Written(each.version_id, names[each], 0)
        standing = standing_names([written], [Change(*row) for row in changes])
        names[each] = standing[each.version_id].path
    return names


def _add_origin(reader: Reader, lineage: Lineage, made: _Made, production: wire.Production) -> None:
    reached = lineage.upstream({made.run_id: made.bound_ns})
    bounds = {run_id: each.bound_ns for run_id, each in reached.items()}
    own = {made.run_id: made.bound_ns}
    direct = rows.inputs(reader, own, INPUTS_LISTED + 1)
    roots = rows.inputs(reader, bounds, INPUTS_LISTED, classes=ROOT_CLASSES, roots=True)
    origin = rows.producers(reader, list(bounds))
    runs = rows.run_summaries(reader, bounds)
    for file in direct[:INPUTS_LISTED]:
        producer = origin.get((file.run_id, file.version_id))
        production.inputs.append(rows.file_edge(file, runs.get(producer or "")))
    production.library_count = rows.folded_count(reader, own)
    unmade = {file.key: file for file in reversed(roots)}
    kept = sorted(unmade.values(), key=lambda file: (file.file_class != "data", file.first_ns))
    production.root_inputs.extend(rows.file_edge(file) for file in kept[:ROOTS_LISTED])
    with_inputs = {file.run_id for file in roots} | {child for child, _ in origin}
    nearest = _nearest_first(reached, runs, with_inputs, made.run_id)
    production.ancestry.extend(nearest[:ANCESTRY_LISTED])
    production.truncated = (
        len(direct) > INPUTS_LISTED
        or len(roots) >= INPUTS_LISTED
        or len(kept) > ROOTS_LISTED
        or len(nearest) > ANCESTRY_LISTED
    )
    add_completeness(production, runs.values())


def _nearest_first(
    reached: Mapping[str, Reached],
    runs: Mapping[str, wire.RunSummary],
    with_inputs: set[str],
    start: str,
) -> list[wire.RunSummary]:
    """Order ancestors; one that only fed a pipe counts if it brought data into it."""
    kept = [
        run_id
        for run_id, each in reached.items()
        if run_id != start and run_id in runs and (each.by_file or run_id in with_inputs)
    ]
    kept.sort(key=lambda run_id: (reached[run_id].hops, -runs[run_id].started_unix_ns))
    return [runs[run_id] for run_id in kept]


def add_completeness(
    reply: wire.Production | wire.LineageReply, runs: Iterable[wire.RunSummary]
) -> None:
    """Say whether nothing of the runs is known to be lost, and why not."""
    reply.complete = True
    for run in runs:
        if not run.complete:
            reply.complete = False
            reason = run.incomplete_reason or "the reason is not known"
            reply.incomplete_reasons.append(f"run {run.run_id} ({run.command[:80]}): {reason}")


def _add_path_versions(reader: Reader, request: wire.FindRequest, reply: wire.FindReply) -> None:
    path, host = request.path, request.host or None
    found = reader.rows(PATH_VERSIONS, (path, path, path, host, host, LISTED))
    runs = rows.run_summaries(reader, {row[4] for row in found if row[4]})
    for blake3, state, reason, op, run_id, last_ns, host_name in found:
        version = wire.PathVersion(
            op=OPS[op],
            host=host_name,
            path=path,
            **rows.given(
                ("digest", "state", "reason", "at_unix_ns", "run"),
                (
                    f"blake3:{blake3}" if blake3 else None,
                    rows.STATES.get(state),
                    reason,
                    last_ns,
                    runs.get(run_id),
                ),
            ),
        )
        reply.path_versions.append(version)
