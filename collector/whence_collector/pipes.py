"""Pipes between programs: which steps are one pipeline, which run feeds which.

Pure state over first touches; merging itself is handed to the caller.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.resolved import StreamRow
    from whence_collector.run_state import Node, Run

PIPES_KEPT = 65_536
ENDS_KEPT = 4096  # per pipe and direction: a pipe that more programs share joins nothing new


@dataclass(frozen=True, slots=True)
class StreamEdge:
    """Data that a pipe carried from one run to another; first touches, Unix ns."""

    child: Run
    parent: Run
    read_ns: int
    written_ns: int


@dataclass(slots=True)
class _Pipe:
    writers: dict[int, tuple[Node, int]] = field(default_factory=dict)
    readers: dict[int, tuple[Node, int]] = field(default_factory=dict)

    @property
    def passes_tokens(self) -> bool:
        """A pipe that one program reads and writes carries tokens or wake-ups, not data."""
        return not self.writers.keys().isdisjoint(self.readers)


class Pipes:
    """All pipes in use; merge(run, run) and rehome(node, run) carry decisions out."""

    def __init__(
        self, merge: Callable[[Run, Run], Run], rehome: Callable[[Node, Run], None]
    ) -> None:
        self._merge = merge
        self._rehome = rehome
        self._pipes: OrderedDict[tuple[int, int, int], _Pipe] = OrderedDict()
        self._fed: list[tuple[Node, Node, int, int]] = []

    def touch(self, node: Node, row: StreamRow) -> None:
        """Take in one first touch."""
        key = (row.boot_id, row.device, row.inode)
        pipe = self._pipes.setdefault(key, _Pipe())
        self._pipes.move_to_end(key)
        if len(self._pipes) > PIPES_KEPT:
            self._pipes.popitem(last=False)
        mine = pipe.writers if row.write else pipe.readers
        if len(mine) >= ENDS_KEPT:
            return
        mine.setdefault(row.process_id, (node, row.at_unix_ns))
        if pipe.passes_tokens:
            return
        others = pipe.readers if row.write else pipe.writers
        for other, other_ns in list(others.values()):
            writer, reader = (node, other) if row.write else (other, node)
            times = (row.at_unix_ns, other_ns) if row.write else (other_ns, row.at_unix_ns)
            self._connect(writer, reader)
            self._fed.append((writer, reader, *times))

    def drain(self) -> tuple[StreamEdge, ...]:
        """Return what fed what since the last drain, merges applied, ancestors left out."""
        edges = []
        for writer, reader, written_ns, read_ns in self._fed:
            if writer.run is None or reader.run is None:
                continue
            parent, child = writer.run.current(), reader.run.current()
            if parent is not child and parent.run_id not in child.ancestors():
                edges.append(StreamEdge(child, parent, read_ns, written_ns))
        self._fed = []
        return tuple(edges)

    def _connect(self, writer: Node, reader: Node) -> None:
        if writer.run is None or reader.run is None:
            return
        fed_from, fed = writer.run.current(), reader.run.current()
        if fed_from is fed:
            return
        above_writer = fed_from.parent.current() if fed_from.parent else None
        above_reader = fed.parent.current() if fed.parent else None
        if above_writer is not None and above_writer is above_reader:
            self._merge(fed_from, fed)
        elif above_writer is fed:
            self._join_parent(writer, reader, fed_from, fed)
        elif above_reader is fed_from:
            self._join_parent(reader, writer, fed, fed_from)

    def _join_parent(self, inner: Node, outer: Node, step: Run, above: Run) -> None:
        """A step shares a pipe with its own script's run: by a subshell, or in one job's group."""
        if outer.forked and outer is not above.root:
            self._rehome(outer, step)
        elif (
            above.group is not None
            and above.group[2] == inner.row.process_group == outer.row.process_group
        ):
            self._merge(step, above)
