"""Edges between runs as arrays, found by the run at either end.

Two layers, so that an edge that comes late costs little: a big one and a small one of what came
since; the small one is joined to the big one when it has grown to a part of it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PIPE_NS = np.iinfo(np.int64).max  # as the end of a write: of a pipe, whose end is not known
SMALL = 4096  # edges that are put in order anew whenever there are more
JOINED_AT = 8  # the small layer is joined when it is this part of the big one


class Columns(NamedTuple):
    """Edges as equally long columns; child took something from parent. Runs are numbers."""

    child: Ints
    parent: Ints
    read_ns: Ints
    written_ns: Ints  # PIPE_NS for a pipe


@dataclass(frozen=True, slots=True)
class Side:
    """Edges in the order of the run at one end.

    A walk comes with a bound: an edge lets it through if gate is not above, and lowers the bound
    to what it gives. (Downstream, where times grow, all times are negative.)
    """

    first: Ints  # by run: where its edges begin; the end of the last one too
    other: Ints
    gate: Ints
    gives: Ints
    is_file: Flags

    def edges_of(self, runs: Ints) -> tuple[Ints, Ints]:
        """Return the edges of some runs: for each the position of its run, and its own number."""
        runs_here = np.flatnonzero(runs < len(self.first) - 1)
        begin = self.first[runs[runs_here]]
        count = self.first[runs[runs_here] + 1] - begin
        owner = np.repeat(runs_here, count)
        before = np.cumsum(count) - count
        return owner, np.arange(len(owner)) + np.repeat(begin - before, count)

    def of(self, run: int) -> Iterator[tuple[int, int, int, bool]]:
        """Yield the edges of one run: other, gate, gives, is_file."""
        if run < len(self.first) - 1:
            here = slice(self.first[run], self.first[run + 1])
            columns = (self.other, self.gate, self.gives, self.is_file)
            yield from zip(*(column[here].tolist() for column in columns), strict=True)


class EdgeArrays:
    """All edges; of those of one child and one parent only what another does not outdo."""

    def __init__(self) -> None:
        self._pending: list[Columns] = []
        self._layers: list[Columns] = [_EMPTY, _EMPTY]  # big, small
        self._up: list[Side] = []
        self._down: list[Side] = []

    def add(self, edges: Columns) -> None:
        """Take in edges; a run never depends on itself."""
        others = edges.child != edges.parent
        self._pending.append(Columns(*(column[others] for column in edges)))

    def sides(self, *, up: bool) -> Iterator[Side]:
        """Yield the edges by child (up) or by parent, in layers."""
        if self._pending:
            self._settle()
        yield from self._up if up else self._down

    def _settle(self) -> None:
        big, small = self._layers
        small = undominated(_joined([small, *self._pending]))
        self._pending = []
        if len(small.child) > max(SMALL, len(big.child) // JOINED_AT):
            self._layers = [undominated(_joined([big, small])), _EMPTY]
        else:
            self._layers = [big, small]
        kept = [layer for layer in self._layers if len(layer.child)]
        self._up = [_by_child(layer) for layer in kept]
        self._down = [_by_parent(layer) for layer in kept]


def undominated(edges: Columns) -> Columns:
    """Leave out edges that say nothing: another was read no later and written no earlier.

    Only among edges of the same two runs, and of one kind (a file, or a pipe).
    """
    is_pipe = edges.written_ns == PIPE_NS
    order = np.lexsort((-edges.written_ns, edges.read_ns, is_pipe, edges.parent, edges.child))
    child, parent, pipe = edges.child[order], edges.parent[order], is_pipe[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (child[1:] != child[:-1]) | (parent[1:] != parent[:-1]) | (pipe[1:] != pipe[:-1])
    # The greatest of the earlier writes of each group: groups in order of rank never mix.
    rank = np.empty(len(order), np.int64)
    rank[np.argsort(edges.written_ns[order], kind="stable")] = np.arange(len(order))
    raised = rank + np.cumsum(begins) * len(order)
    highest = np.maximum.accumulate(raised)
    written = edges.written_ns[order]
    later = np.ones(len(order), np.bool_)
    later[1:] = begins[1:] | (highest[1:] > highest[:-1])
    same = np.zeros(len(order), np.bool_)  # equally late as the one before: outdone
    same[1:] = ~begins[1:] & (written[1:] == written[:-1])
    return Columns(*(column[order[later & ~same]] for column in edges))


def _by_child(edges: Columns) -> Side:
    order = np.argsort(edges.child, kind="stable")
    return Side(
        _first(edges.child),
        edges.parent[order],
        edges.read_ns[order],
        edges.written_ns[order],
        edges.written_ns[order] != PIPE_NS,
    )


def _by_parent(edges: Columns) -> Side:
    order = np.argsort(edges.parent, kind="stable")
    return Side(
        _first(edges.parent),
        edges.child[order],
        -edges.written_ns[order],
        -edges.read_ns[order],
        edges.written_ns[order] != PIPE_NS,
    )


def _first(runs: Ints) -> Ints:
    counts = np.bincount(runs)
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


def _joined(parts: list[Columns]) -> Columns:
    return Columns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


_EMPTY = Columns(*(np.zeros(0, np.int64) for _ in Columns._fields))
