"""The answer to Lineage: the graph of runs and files above or below a start. Reads only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.answers_find import (
    add_completeness,
    artifacts_of,
    consumers_of,
    productions_of,
)
from whence_collector.answers_runs import family_of, resolve_run
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lineage import ALWAYS, Lineage, Reached
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whence_collector.store import Reader

NODES_DEFAULT, NODES_CAP = 5_000, 100_000
STARTS = 1_000
RUN_ID_DIGITS = 16
STREAMS = """
SELECT parent_run_id, child_run_id, min(read_ns) FROM run_dependency
WHERE strength = 'stream' AND parent_run_id IN (SELECT unnest(?::VARCHAR[]))
    AND child_run_id IN (SELECT unnest(?::VARCHAR[]))
GROUP BY parent_run_id, child_run_id
"""
START_FILES = """
SELECT m.run_id, a.version_id, arg_max(coalesce(o.final_path, n.path), a.last_unix_ns),
    any_value(k.class),
    d.artifact_id, lower(hex(t.blake3)), d.state, d.reason, d.size_bytes, sum(a.bytes)::BIGINT,
    min(a.first_unix_ns), max(a.last_unix_ns)
FROM access a
JOIN process_run m USING (process_id)
JOIN path n ON n.path_id = a.path_id
JOIN path_class k ON k.path_id = a.path_id
LEFT JOIN run_output_name o
    ON o.run_id = m.run_id AND o.version_id = a.version_id AND o.path_id = a.path_id
JOIN version_digest d ON d.version_id = a.version_id
JOIN artifact t ON t.artifact_id = d.artifact_id
WHERE d.artifact_id = ? AND list_contains(?, a.op)
GROUP BY m.run_id, a.version_id, d.artifact_id, t.blake3, d.state, d.reason, d.size_bytes
"""
READS, WRITES = [1, 3, 4], [2, 4, 5]


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a walk begins: its name, the bound of each run, and the content if it is one."""

    name: str
    bounds: dict[str, int]
    artifact_id: int | None


class _Drawing:
    """A LineageReply while it grows; nodes and edges enter once."""

    def __init__(self, start: str) -> None:
        self.reply = wire.LineageReply(start=start)
        self._files: dict[str, wire.LineageFile] = {}
        self._edges: dict[tuple[str, str, bool], wire.LineageEdge] = {}

    def file(self, file: rows.File) -> None:
        """Add a file node; root until a run is drawn that made it."""
        if file.key in self._files:
            return
        node = self.reply.files.add(
            key=file.key,
            path=file.path,
            root=True,
            **rows.given(
                ("digest", "state", "size_bytes"),
                (
                    file.key if file.blake3 else None,
                    rows.STATES.get(file.state or 0),
                    file.size_bytes if file.blake3 else None,
                ),
            ),
        )
        setattr(node, "class", file.file_class)  # a keyword, so no argument can name it
        self._files[file.key] = node

    def edge(self, run_id: str, file: rows.File, at_ns: int, *, write: bool) -> None:
        """Add an edge between a run and a file."""
        key = (run_id, file.key, write)
        if write and file.key in self._files:
            self._files[file.key].root = False
        if key not in self._edges:
            self._edges[key] = self.reply.edges.add(
                run_id=run_id, file_key=file.key, write=write, at_unix_ns=at_ns
            )

    def nodes(self) -> int:
        """Count the nodes drawn."""
        return len(self._files) + len(self.reply.runs)


def lineage(reader: Reader, graph: Lineage, request: wire.LineageRequest) -> wire.LineageReply:
    """Answer Lineage; raises InvalidRequest or NotFound for a start that means nothing."""
    start = _start(reader, request)
    walk = graph.downstream if request.downstream else graph.upstream
    reached = walk(start.bounds)
    limit = min(request.limit or NODES_DEFAULT, NODES_CAP)
    kept = _nearest(reached, request.depth, limit)
    runs = rows.run_summaries(reader, kept)
    drawing = _Drawing(start.name)
    drawing.reply.runs.extend(runs[run_id] for run_id in kept if run_id in runs)
    bounds = {run_id: reached[run_id].bound_ns for run_id in kept if run_id in runs}
    classes = CLASSES if request.all_classes else SHOWN
    room = max(limit - len(bounds), 1)
    if request.downstream:
        _draw_down(reader, drawing, start, bounds, classes, room)
    else:
        _draw_up(reader, drawing, start, bounds, classes, room)
    for parent, child, at_ns in reader.rows(STREAMS, (list(bounds), list(bounds))):
        drawing.reply.edges.add(run_id=parent, to_run_id=child, write=True, at_unix_ns=at_ns)
    drawing.reply.truncated = drawing.nodes() >= limit or len(kept) < len(
        [each for each in reached.values() if not request.depth or each.hops < request.depth]
    )
    add_completeness(drawing.reply, runs.values())
    return drawing.reply


def _start(reader: Reader, request: wire.LineageRequest) -> _Start:
    text = request.start
    if re.fullmatch(r"[0-9a-f]{4,16}", text):
        try:
            run_id = resolve_run(reader, text)
        except NotFound:
            if len(text) == RUN_ID_DIGITS:
                raise
        else:
            bound = 0 if request.downstream else ALWAYS
            return _Start(run_id, dict.fromkeys(family_of(reader, run_id), bound), None)
    found = artifacts_of(reader, text, 2)
    if not found:
        raise NotFound(f"no content and no run is known as {text}; `whence log` lists runs")
    if len(found) > 1:
        raise InvalidRequest(f"{text} means several contents; write more digits")
    return _start_at_content(reader, found[0][0], found[0][1], downstream=request.downstream)


def _start_at_content(reader: Reader, artifact_id: int, blake3: str, *, downstream: bool) -> _Start:
    bounds: dict[str, int] = {}
    if downstream:
        for run_id, at_ns in consumers_of(reader, artifact_id, STARTS):
            bounds[run_id] = min(at_ns, bounds.get(run_id, ALWAYS))
    else:
        for run_id, _, bound_ns in productions_of(reader, artifact_id, STARTS):
            bounds[run_id] = max(bound_ns, bounds.get(run_id, 0))
    return _Start(f"blake3:{blake3}", bounds, artifact_id)


def _nearest(reached: Mapping[str, Reached], depth: int, limit: int) -> list[str]:
    """Return the runs to draw, nearest first; depth counts levels of runs, 0 all of them."""
    kept = [run_id for run_id, each in reached.items() if not depth or each.hops < depth]
    return sorted(kept, key=lambda run_id: reached[run_id].hops)[:limit]


def _start_files(reader: Reader, start: _Start, ops: list[int]) -> list[rows.File]:
    if start.artifact_id is None:
        return []
    return [rows.File(*row) for row in reader.rows(START_FILES, (start.artifact_id, ops))]


def _draw_up(
    reader: Reader,
    drawing: _Drawing,
    start: _Start,
    bounds: Mapping[str, int],
    classes: Iterable[str],
    room: int,
) -> None:
    for file in _start_files(reader, start, WRITES):
        drawing.file(file)
        if file.run_id in bounds:
            drawing.edge(file.run_id, file, file.last_ns, write=True)
    read = rows.inputs(reader, bounds, room, classes=list(classes))
    origin = rows.producers(reader, list(bounds))
    for file in read:
        drawing.file(file)
        drawing.edge(file.run_id, file, file.first_ns, write=False)
    for file in read:
        parent = origin.get((file.run_id, file.version_id))
        if parent in bounds and parent is not None:
            drawing.edge(parent, file, file.first_ns, write=True)


def _draw_down(
    reader: Reader,
    drawing: _Drawing,
    start: _Start,
    bounds: Mapping[str, int],
    classes: Iterable[str],
    room: int,
) -> None:
    for file in _start_files(reader, start, READS):
        drawing.file(file)
        if file.run_id in bounds:
            drawing.edge(file.run_id, file, file.first_ns, write=False)
    wrote = [
        file
        for file in rows.outputs(reader, list(bounds), room)
        if file.last_ns >= bounds[file.run_id] and file.file_class in classes
    ]
    made: dict[str, rows.File] = {}
    for file in wrote:
        drawing.file(file)
        drawing.edge(file.run_id, file, file.last_ns, write=True)
        made[file.key] = file
    for file in rows.inputs(reader, rows.everything(bounds), room, classes=list(classes)):
        if file.key in made:
            drawing.edge(file.run_id, file, file.first_ns, write=False)
