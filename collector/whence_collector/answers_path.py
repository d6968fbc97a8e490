"""What was seen at a path: which versions, touched how, by which run. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.answer_rows import STATES, given
from whence_collector.lookups import Content, boots_of, contents, host_names, runs_of
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whence_collector.store import Reader, Row

LISTED = 50
PAGES = (200, 20_000, 2**31)  # touches looked through until enough of them are of the host
TOUCHED = """
SELECT process_id, version_id, op, max(last_unix_ns) AS at_ns
FROM access WHERE path_id = ? GROUP BY ALL ORDER BY at_ns DESC LIMIT ?
"""
RENAMED = """
SELECT process_id, version_id, 10 + change, at_unix_ns FROM name_change
WHERE path_id = ? OR new_path_id = ? ORDER BY at_unix_ns DESC LIMIT ?
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


@dataclass(frozen=True, slots=True)
class Held:
    """That a version was touched at a path."""

    op: str
    run_id: str | None
    content: Content | None
    at_ns: int
    host: str


def held_at(reader: Reader, path: str, host: str | None) -> list[Held]:
    """Return what was touched at a path on a host (None: on any), newest first, at most LISTED."""
    known = reader.rows("SELECT path_id FROM path WHERE path = ?", (path,))
    touches: list[tuple[Row, str]] = []
    for limit in PAGES if known else ():
        rows = _touches(reader, known[0][0], limit)
        touches = _on_host(reader, rows, host)
        if len(touches) >= LISTED or len(rows) < limit:
            break
    touches = touches[:LISTED]
    runs = runs_of(reader, {row[0] for row, _ in touches})
    held = contents(reader, {row[1] for row, _ in touches if row[1]})
    return [
        Held(OPS[op], runs.get(process_id), held.get(version_id), at_ns, name)
        for (process_id, version_id, op, at_ns), name in touches
    ]


def path_version(path: str, held: Held, runs: Mapping[str, wire.RunSummary]) -> wire.PathVersion:
    """Return it as a message."""
    content = held.content
    told = (
        (
            content.digest,
            STATES[content.state],
            content.reason,
        )
        if content
        else (None, None, None)
    )
    return wire.PathVersion(
        op=held.op,
        host=held.host,
        path=path,
        at_unix_ns=held.at_ns,
        **given(("digest", "state", "reason", "run"), (*told, runs.get(held.run_id or ""))),
    )


def _touches(reader: Reader, path_id: int, limit: int) -> list[Row]:
    rows = reader.rows(TOUCHED, (path_id, limit))
    rows += reader.rows(RENAMED, (path_id, path_id, limit))
    return sorted(rows, key=lambda row: -row[3])[:limit]


def _on_host(reader: Reader, rows: list[Row], host: str | None) -> list[tuple[Row, str]]:
    boots = boots_of(reader, {row[0] for row in rows})
    names = host_names(reader)
    named = [(row, names[boots[row[0]]]) for row in rows if row[0] in boots]
    return [(row, name) for row, name in named if host in (None, name)]
