"""Saying and telling tags: of runs, contents, trees; their own and what they inherit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whence_collector.answers_said import RUN_TAGS, entry_of
from whence_collector.closure import Hit, Start, above, reads_of, start_of
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lookups import paths, where_in
from whence_collector.tag_rules import CHANGES, check_key, check_value, is_inherited
from whence_proto.v1 import tags_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whence_collector.graph import Graph
    from whence_collector.reached import Reached
    from whence_collector.store import Reader, Row, Writer

LIST_DEFAULT, LIST_CAP = 1_000, 100_000
WHO_CHARS = 200
TREE = "tree:"
# One row a statement although a process's one may reach several runs.
STATEMENTS = """
SELECT DISTINCT subject_kind, subject, key, value, removed, inherit, who, proven, at_ns
FROM ({source}) WHERE (?1 IS NULL OR key = ?1) {more}
ORDER BY at_ns DESC, key LIMIT ?2
"""
STANDING = """
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY subject_kind, subject, key ORDER BY at_ns DESC) AS nth
    FROM tag_statement
) WHERE nth = 1 AND NOT removed
"""
HEREDITARY_ARTIFACTS = f"""
SELECT subject_kind, subject, key, value, removed, inherit, who, proven, at_ns
FROM ({STANDING}) WHERE inherit AND subject_kind = 'artifact'
"""  # noqa: S608 -- every part is written here


def add_tags(request: wire.TagRequest, graph: Graph) -> Callable[[Writer], wire.TagReply]:
    """Return the work that stores what a request says.

    Raises InvalidRequest here, and NotFound when the work runs.
    """
    if not request.changes:
        raise InvalidRequest("nothing is said: give KEY or KEY=VALUE")
    if len(request.changes) > CHANGES:
        raise InvalidRequest(f"{len(request.changes)} tags at once: give at most {CHANGES}")
    changes = [
        (
            check_key(change.key),
            check_value(change.key, change.value if change.HasField("value") else None),
            change.removed,
            is_inherited(change.key, change.inherit if change.HasField("inherit") else None),
        )
        for change in request.changes
    ]
    at_ns, who = time.time_ns(), request.who[:WHO_CHARS] or "unknown"

    def work(writer: Writer) -> wire.TagReply:
        kind, subject = subject_of(writer, request.subject)
        count = len(changes)
        writer.append(
            "tag",
            {
                "subject_kind": [kind] * count,
                "subject": [subject] * count,
                "key": [key for key, _, _, _ in changes],
                "value": [value for _, value, _, _ in changes],
                "removed": [removed for _, _, removed, _ in changes],
                "inherit": [inherit for _, _, _, inherit in changes],
                "who": [who] * count,
                "proven": [False] * count,
                "at_ns": [at_ns] * count,
            },
        )
        listed = list_tags(writer, graph, wire.ListTagsRequest(subject=subject))
        return wire.TagReply(subject=subject, tags=listed.tags)

    return work


def subject_of(reader: Reader, text: str) -> tuple[str, str]:
    """Return kind and full name of what a text means.

    A full digest need not have been seen: it may be labelled before anybody reads it.
    """
    if text.startswith(TREE):
        return "tree", text.lower()
    digits = text.removeprefix("blake3:").lower()
    if len(digits) == 64 and not set(digits) - set("0123456789abcdef"):
        return "artifact", f"blake3:{digits}"
    start = start_of(reader, text)
    return ("run" if start.artifact is None else "artifact"), start.name


def list_tags(reader: Reader, graph: Graph, request: wire.ListTagsRequest) -> wire.ListTagsReply:
    """Answer ListTags; raises InvalidRequest and NotFound."""
    limit = min(request.limit or LIST_DEFAULT, LIST_CAP)
    key = request.key or None
    source = "SELECT * FROM tag_statement" if request.history else STANDING
    if not request.subject:
        sql = STATEMENTS.format(source=source, more="")
        found = reader.rows(sql, (key, limit + 1))
        return _reply(found, limit)
    kind, subject = subject_of(reader, request.subject)
    more = "AND run_id = ?3" if kind == "run" else "AND subject_kind != 'run' AND subject = ?3"
    found = reader.rows(STATEMENTS.format(source=source, more=more), (key, limit + 1, subject))
    reply = _reply(found, limit)
    if not request.history and kind != "tree":
        reply.tags.extend(
            entry for entry in inherited_tags(reader, graph, subject) if key in (None, entry.key)
        )
    return reply


def _reply(found: list[Row], limit: int) -> wire.ListTagsReply:
    return wire.ListTagsReply(
        tags=[entry_of(row) for row in found[:limit]], truncated=len(found) > limit
    )


def inherited_tags(reader: Reader, graph: Graph, subject: str) -> list[wire.TagEntry]:
    """Return the hereditary tags of whatever a run or content was made from.

    Of contents that were read up the lineage in time, and of the runs up there.
    """
    if not reader.rows("SELECT 1 FROM tag WHERE inherit LIMIT 1"):
        return []
    try:
        start = start_of(reader, subject)
    except (InvalidRequest, NotFound):
        return []
    reached = above(graph, start)
    found = [*_from_contents(reader, start, reached), *_from_runs(reader, start, reached)]
    once = {(entry.subject, entry.key): entry for entry in found}
    return list(once.values())


def _from_contents(
    reader: Reader, start: Start, reached: Mapping[str, Reached]
) -> list[wire.TagEntry]:
    tagged = reader.rows(HEREDITARY_ARTIFACTS)
    of_digest: dict[str, list[Row]] = {}
    for row in tagged:
        of_digest.setdefault(row[1], []).append(row)
    ids = artifact_ids(reader, of_digest)
    hits = reads_of(reader, list(ids.values()), reached)
    first: dict[int, Hit] = {}
    for hit in hits:
        first.setdefault(hit.artifact_id, hit)
    names = paths(reader, {hit.path_id for hit in first.values()})
    return [
        entry_of(row, names.get(first[artifact_id].path_id, subject))
        for subject, artifact_id in ids.items()
        if artifact_id in first and subject != start.name
        for row in of_digest[subject]
    ]


def artifact_ids(reader: Reader, subjects: Iterable[str]) -> dict[str, int]:
    """Return the artifact_id of digests ("blake3:…") that were seen."""
    wanted = {bytes.fromhex(subject.removeprefix("blake3:")): subject for subject in subjects}
    if not wanted:
        return {}
    found = reader.rows(
        "SELECT blake3, artifact_id FROM artifact WHERE blake3 IN (SELECT unnest(?::BLOB[]))",
        (list(wanted),),
    )
    return {wanted[blake3]: artifact_id for blake3, artifact_id in found}


def _from_runs(reader: Reader, start: Start, reached: Mapping[str, Reached]) -> list[wire.TagEntry]:
    others = [
        run_id for run_id in reached if start.artifact is not None or run_id not in start.bounds
    ]
    if not others:
        return []
    commands: dict[str, str] = dict(
        where_in(reader, "SELECT run_id, command FROM run", "run_id", others)
    )
    return [
        entry_of(tuple(row), commands.get(run_id, run_id))
        for *row, run_id in where_in(reader, RUN_TAGS, "run_id", others)
        if row[5]
    ]
