"""Which runs came before or after a run: a closure that respects time, in memory. Pure.

A parent's inputs count only if first read before the last write of what was taken from it; so
each run is reached with a bound, and the widest bound over all ways counts. The walk is done in
machine code (native_walk.py). Where that was not built it takes a whole rim of runs at a time, as
arrays, and goes on from those whose bound it widened: the same answer, ten times as late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence_collector.edge_arrays import PIPE_NS, Columns, EdgeArrays
from whence_collector.native_walk import NOT_REACHED, native_walk
from whence_collector.reached import Closure, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whence_collector.edge_arrays import Flags, Ints, Side

ALWAYS = 2**63 - 1  # the bound that lets everything count, Unix ns
FEW = 4  # runs of a rim that are quicker one by one


@dataclass(frozen=True, slots=True)
class Edge:
    """child took something from parent; written_ns is None for a pipe, whose end is not known."""

    child: str
    parent: str
    read_ns: int
    written_ns: int | None


class Lineage:
    """The graph of runs, by child and by parent."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self._number: dict[str, int] = {}
        self._names: list[str] = []
        self._edges = EdgeArrays()
        self._noted: Ints = np.zeros(0, np.int64)
        for edge in edges:
            self.add(edge)

    def add(self, edge: Edge) -> None:
        """Add an edge; a run never depends on itself."""
        written_ns = PIPE_NS if edge.written_ns is None else edge.written_ns
        self.add_all([edge.child], [edge.parent], np.array([edge.read_ns]), np.array([written_ns]))

    def add_all(
        self, children: Sequence[str], parents: Sequence[str], read_ns: Ints, written_ns: Ints
    ) -> None:
        """Add edges as equally long columns; written_ns is PIPE_NS for a pipe."""
        columns = self._numbers(children), self._numbers(parents)
        # The walk in machine code takes numbers of 64 bits at their word.
        times = (np.asarray(each, np.int64) for each in (read_ns, written_ns))
        self._edges.add(Columns(*columns, *times))

    def upstream(self, starts: Mapping[str, int]) -> Closure:
        """Return the runs that the starts came from, starts included with 0 hops.

        starts holds, per run, the time before which its reads count (ALWAYS for all of them).
        """
        return self._walk(starts, up=True)

    def downstream(self, starts: Mapping[str, int]) -> Closure:
        """Return the runs that came from the starts, starts included with 0 hops.

        starts holds, per run, the time after which its writes count (0 for all of them).
        """
        return self._walk(starts, up=False)

    def _walk(self, starts: Mapping[str, int], *, up: bool) -> Closure:
        known = {run_id: bound for run_id, bound in starts.items() if run_id in self._number}
        rim = np.array([self._number[run_id] for run_id in known], np.int64)
        sign = 1 if up else -1  # downstream the least time is the widest bound
        bounds = np.array(list(known.values()), np.int64) * sign
        sides = tuple(self._edges.sides(up=up))
        walk = native_walk() or self._walk_arrays
        rows = walk(sides, len(self._names), rim, bounds)
        if not up:
            rows = Rows(rows.run, -rows.bound_ns, rows.hops, rows.by_file)
        unknown = {run_id: bound for run_id, bound in starts.items() if run_id not in known}
        return Closure(self._names, rows, unknown)

    def _walk_arrays(self, sides: Sequence[Side], runs: int, rim: Ints, starts: Ints) -> Rows:
        """Do as native_walk does."""
        bounds = np.full(runs, NOT_REACHED)
        self._noted = np.zeros(runs, np.int64)
        bounds[rim] = starts
        self._widen(sides, bounds, rim)
        hops, by_file = self._measure(sides, bounds, rim)
        at = np.flatnonzero(bounds != NOT_REACHED)
        at = at[np.argsort(hops[at], kind="stable")]
        return Rows(at, bounds[at], hops[at], by_file[at])

    def _widen(self, sides: Sequence[Side], bounds: Ints, rim: Ints) -> None:
        """Raise the bounds of all that can be reached from the rim to their greatest values."""
        while len(rim):
            rim = (
                self._widened(sides, bounds, rim)
                if len(rim) > FEW
                else _widened(sides, bounds, rim)
            )

    def _widened(self, sides: Sequence[Side], bounds: Ints, rim: Ints) -> Ints:
        """Raise the bounds next to the rim; return the runs whose bound rose."""
        reached = []
        for side in sides:
            owner, edges = side.edges_of(rim)
            bound = bounds[rim][owner]
            admitted = side.gate[edges] <= bound
            edges = edges[admitted]
            other = side.other[edges]
            widest = np.minimum(bound[admitted], side.gives[edges])
            wider = widest > bounds[other]
            np.maximum.at(bounds, other[wider], widest[wider])
            reached.append(other[wider])
        return self._each_once(reached)

    def _measure(self, sides: Sequence[Side], bounds: Ints, rim: Ints) -> tuple[Ints, Flags]:
        """Count the fewest steps to each run along edges that its bound admits."""
        hops = np.full(len(bounds), -1)
        by_file = np.zeros(len(bounds), np.bool_)
        hops[rim], by_file[rim] = 0, True
        steps = 0
        while len(rim):
            steps += 1
            step = self._step if len(rim) > FEW else _step
            rim = step(sides, bounds, rim, by_file)
            rim = rim[hops[rim] < 0]
            hops[rim] = steps
        return hops, by_file

    def _step(self, sides: Sequence[Side], bounds: Ints, rim: Ints, by_file: Flags) -> Ints:
        """Return the runs next to the rim, and note which of them a file leads to."""
        reached = []
        for side in sides:
            owner, edges = side.edges_of(rim)
            edges = edges[side.gate[edges] <= bounds[rim][owner]]
            by_file[side.other[edges[side.is_file[edges]]]] = True
            reached.append(side.other[edges])
        return self._each_once(reached)

    def _each_once(self, parts: list[Ints]) -> Ints:
        """Return each run of several lists once: of its places the one that was noted last."""
        runs: Ints = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        places = np.arange(len(runs))
        self._noted[runs] = places
        once: Ints = runs[self._noted[runs] == places]
        return once

    def _numbers(self, run_ids: Sequence[str]) -> Ints:
        """Return the number of each run, giving new ones to runs that were never named."""
        number = self._number
        for run_id in dict.fromkeys(run_ids):
            if run_id not in number:
                number[run_id] = len(self._names)
                self._names.append(run_id)
        return np.fromiter(map(number.__getitem__, run_ids), np.int64, len(run_ids))


def _widened(sides: Sequence[Side], bounds: Ints, rim: Ints) -> Ints:
    """Do as Lineage._widened for a few runs: a chain of them would cost 50 us a link in arrays."""
    reached = set()
    for run in rim.tolist():
        bound = int(bounds[run])
        for side in sides:
            for other, gate, gives, _ in side.of(run):
                if gate <= bound and min(bound, gives) > bounds[other]:
                    bounds[other] = min(bound, gives)
                    reached.add(other)
    return np.array(list(reached), np.int64)


def _step(sides: Sequence[Side], bounds: Ints, rim: Ints, by_file: Flags) -> Ints:
    """Do as Lineage._step for a few runs."""
    reached = set()
    for run in rim.tolist():
        bound = int(bounds[run])
        for side in sides:
            for other, gate, _, is_file in side.of(run):
                if gate <= bound:
                    reached.add(other)
                    if is_file:
                        by_file[other] = True
    return np.array(list(reached), np.int64)
