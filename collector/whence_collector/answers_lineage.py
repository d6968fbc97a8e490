"""The answer to Lineage: the graph of runs and files above or below a start. Reads only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.answers_content import (
    Artifact,
    artifacts_of,
    consumers_of,
    makers_of,
    versions_of,
)
from whence_collector.answers_origin import undigested_inputs
from whence_collector.answers_runs import family_of, resolve_run
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.incomplete import add_completeness
from whence_collector.lineage import ALWAYS
from whence_collector.lookups import among
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from whence_collector.graph import Graph
    from whence_collector.store import Reader
    from whence_collector.touches import Sides, Touches

NODES_DEFAULT, NODES_CAP = 5_000, 100_000
STARTS = 1_000
RUN_ID_DIGITS = 16
STREAMS = """
SELECT parent_run_id, child_run_id, min(read_ns) FROM run_dependency
WHERE strength = 'stream' AND {among_parents} AND {among_children}
GROUP BY parent_run_id, child_run_id
"""


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a walk begins: its name, bounds by run, versions if it is a content."""

    name: str
    bounds: dict[str, int]
    version_ids: frozenset[int]


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
            **{name: value for name, value in file.told().items() if name != "reason"},
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


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is drawn: runs with their bounds, their touches, files of some classes, at most room."""

    touched: Touches
    bounds: Mapping[str, int]
    classes: Collection[str]
    room: int


def lineage(reader: Reader, graph: Graph, request: wire.LineageRequest) -> wire.LineageReply:
    """Answer Lineage; raises InvalidRequest or NotFound for a start that means nothing."""
    start = _start(reader, request)
    walk = graph.downstream if request.downstream else graph.upstream
    reached = walk(start.bounds)
    limit = min(request.limit or NODES_DEFAULT, NODES_CAP)
    kept = reached.nearest(limit, request.depth)
    runs = rows.run_summaries(reader, kept)
    drawing = _Drawing(start.name)
    drawing.reply.runs.extend(runs[run_id] for run_id in kept if run_id in runs)
    bounds = reached.bounds()
    bounds = {run_id: bounds[run_id] for run_id in kept if run_id in runs}
    classes = CLASSES if request.all_classes else SHOWN
    touched = touches.load(reader, graph.classes, bounds)
    scope = _Scope(touched, bounds, classes, max(limit - len(bounds), 1))
    if request.downstream:
        _draw_down(reader, drawing, start, scope)
    else:
        _draw_up(reader, drawing, start, scope)
    _draw_streams(reader, drawing, bounds)
    drawing.reply.truncated = (
        touched.truncated or drawing.nodes() >= limit or len(kept) < reached.count(request.depth)
    )
    inputs = [] if request.downstream else [touched.inputs(bounds, SHOWN)]
    undigested = undigested_inputs(reader, touches.joined(inputs))
    add_completeness(drawing.reply, runs.values(), list(undigested.values()))
    return drawing.reply


def _draw_streams(reader: Reader, drawing: _Drawing, bounds: Collection[str]) -> None:
    parents, parent_params = among("parent_run_id", bounds)
    children, child_params = among("child_run_id", bounds)
    sql = STREAMS.format(among_parents=parents, among_children=children)
    for parent, child, at_ns in reader.rows(sql, (*parent_params, *child_params)) if bounds else ():
        drawing.reply.edges.add(run_id=parent, to_run_id=child, write=True, at_unix_ns=at_ns)


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
            return _Start(run_id, dict.fromkeys(family_of(reader, run_id), bound), frozenset())
    found = artifacts_of(reader, text, 2)
    if not found:
        raise NotFound(f"no content and no run is known as {text}; `whence log` lists runs")
    if len(found) > 1:
        raise InvalidRequest(f"{text} means several contents; write more digits")
    return _start_at_content(reader, found[0], downstream=request.downstream)


def _start_at_content(reader: Reader, artifact: Artifact, *, downstream: bool) -> _Start:
    version_ids = [version_id for version_id, _ in versions_of(reader, artifact.artifact_id)]
    bounds: dict[str, int] = {}
    if downstream:
        for run_id, at_ns in consumers_of(reader, version_ids, STARTS):
            bounds[run_id] = min(at_ns, bounds.get(run_id, ALWAYS))
    else:
        for made in makers_of(reader, version_ids, STARTS):
            bounds[made.run_id] = max(made.bound_ns, bounds.get(made.run_id, 0))
    return _Start(artifact.digest, bounds, frozenset(version_ids))


def _of_start(sides: Sides, start: _Start) -> Sides:
    return sides.only(np.isin(sides.version_id, list(start.version_ids)))


def _draw_up(reader: Reader, drawing: _Drawing, start: _Start, scope: _Scope) -> None:
    touched, bounds = scope.touched, scope.bounds
    made = _of_start(touched.outputs(bounds), start)
    for file in rows.written_files(reader, touched, made):
        drawing.file(file)
        drawing.edge(file.run_id, file, file.last_ns, write=True)
    inputs = touched.inputs(bounds, scope.classes).only(slice(scope.room))
    read = rows.read_files(reader, touched, inputs)
    origin = rows.producers(reader, bounds)
    for file in read:
        drawing.file(file)
        drawing.edge(file.run_id, file, file.first_ns, write=False)
    for file in read:
        parent = origin.get((file.run_id, file.version_id))
        if parent in bounds and parent is not None:
            drawing.edge(parent, file, file.first_ns, write=True)


def _draw_down(reader: Reader, drawing: _Drawing, start: _Start, scope: _Scope) -> None:
    touched, bounds = scope.touched, scope.bounds
    for file in rows.read_files(reader, touched, _of_start(touched.readings(), start)):
        drawing.file(file)
        drawing.edge(file.run_id, file, file.first_ns, write=False)
    outputs = touched.outputs(bounds).only(slice(scope.room))
    made: dict[str, rows.File] = {}
    for file in rows.written_files(reader, touched, outputs):
        if file.last_ns >= bounds[file.run_id] and file.file_class in scope.classes:
            drawing.file(file)
            drawing.edge(file.run_id, file, file.last_ns, write=True)
            made[file.key] = file
    inputs = touched.inputs(rows.everything(bounds), scope.classes).only(slice(scope.room))
    for file in rows.read_files(reader, touched, inputs):
        if file.key in made:
            drawing.edge(file.run_id, file, file.first_ns, write=False)
