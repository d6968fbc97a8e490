"""Which runs came before or after a run: a closure that respects time, in memory. Pure.

A parent's inputs count only if first read before the last write of what was taken from it; so
each run is reached with a bound, and the widest bound over all ways counts.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALWAYS = 2**63 - 1  # the bound that lets everything count, Unix ns


@dataclass(frozen=True, slots=True)
class Edge:
    """child took something from parent; written_ns is None for a pipe, whose end is not known."""

    child: str
    parent: str
    read_ns: int
    written_ns: int | None


@dataclass(frozen=True, slots=True)
class Reached:
    """How a run is reached: the bound on its own reads (or writes), steps away, and by a file."""

    bound_ns: int
    hops: int
    by_file: bool


class Lineage:
    """The graph of runs, by child and by parent."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self._above: defaultdict[str, set[Edge]] = defaultdict(set)
        self._below: defaultdict[str, set[Edge]] = defaultdict(set)
        for edge in edges:
            self.add(edge)

    def add(self, edge: Edge) -> None:
        """Add an edge; a run never depends on itself."""
        if edge.child != edge.parent:
            self._above[edge.child].add(edge)
            self._below[edge.parent].add(edge)

    def upstream(self, starts: Mapping[str, int]) -> dict[str, Reached]:
        """Return the runs that the starts came from, starts included with 0 hops.

        starts holds, per run, the time before which its reads count (ALWAYS for all of them).
        """
        bounds: dict[str, int] = {}
        queue = [(-bound, run_id) for run_id, bound in starts.items()]
        heapq.heapify(queue)
        while queue:
            negative, run_id = heapq.heappop(queue)
            if run_id in bounds:
                continue
            bounds[run_id] = bound = -negative
            for edge in self._above.get(run_id, ()):
                if edge.read_ns <= bound and edge.parent not in bounds:
                    written = bound if edge.written_ns is None else edge.written_ns
                    heapq.heappush(queue, (-min(bound, written), edge.parent))
        return self._measured(bounds, starts, up=True)

    def downstream(self, starts: Mapping[str, int]) -> dict[str, Reached]:
        """Return the runs that came from the starts, starts included with 0 hops.

        starts holds, per run, the time after which its writes count (0 for all of them).
        """
        since: dict[str, int] = {}
        queue = [(at_ns, run_id) for run_id, at_ns in starts.items()]
        heapq.heapify(queue)
        while queue:
            at_ns, run_id = heapq.heappop(queue)
            if run_id in since:
                continue
            since[run_id] = at_ns
            for edge in self._below.get(run_id, ()):
                carries = edge.written_ns is None or edge.written_ns >= at_ns
                if carries and edge.child not in since:
                    heapq.heappush(queue, (max(at_ns, edge.read_ns), edge.child))
        return self._measured(since, starts, up=False)

    def _measured(
        self, bounds: Mapping[str, int], starts: Iterable[str], *, up: bool
    ) -> dict[str, Reached]:
        """Count the fewest steps to each run along edges that its bound admits."""
        hops = dict.fromkeys(starts, 0)
        by_file = set(hops)
        queue = deque(hops)
        while queue:
            run_id = queue.popleft()
            for edge in (self._above if up else self._below).get(run_id, ()):
                other = edge.parent if up else edge.child
                if not _admits(edge, bounds[run_id], up=up):
                    continue
                if edge.written_ns is not None:
                    by_file.add(other)
                if other not in hops:
                    hops[other] = hops[run_id] + 1
                    queue.append(other)
        return {
            run_id: Reached(bound, hops[run_id], run_id in by_file)
            for run_id, bound in bounds.items()
        }


def _admits(edge: Edge, bound_ns: int, *, up: bool) -> bool:
    if up:
        return edge.read_ns <= bound_ns
    return edge.written_ns is None or edge.written_ns >= bound_ns
