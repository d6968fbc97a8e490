"""What a walk of the graph reached: runs with their bounds, nearest first. Pure.

Kept as arrays until somebody looks at single runs: of fifty thousand runs an answer shows a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import ItemsView, Sequence, ValuesView

    from whence_collector.edge_arrays import Flags, Ints


class Reached(NamedTuple):
    """How a run is reached: the bound on its own reads (or writes), steps away, and by a file."""

    bound_ns: int
    hops: int
    by_file: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs that were reached, fewest steps first: equally long columns; run is a number."""

    run: Ints
    bound_ns: Ints
    hops: Ints
    by_file: Flags


class Closure(Mapping[str, Reached]):
    """The runs that a walk reached, its starts included with 0 hops."""

    def __init__(self, names: Sequence[str], rows: Rows, unknown: Mapping[str, int]) -> None:
        """Name runs by their numbers; unknown are starts that no edge knows, with their bounds."""
        self._names = names
        self._rows = rows
        self._unknown = unknown
        self._by_run: dict[str, Reached] | None = None

    def bounds(self) -> dict[str, int]:
        """Return the bound of each run, Unix ns."""
        return dict(self._unknown) | dict(
            zip(self._named(), self._rows.bound_ns.tolist(), strict=True)
        )

    def nearest(self, limit: int, depth: int = 0) -> list[str]:
        """Return at most limit runs, fewest steps first; depth counts levels of runs, 0 all."""
        return list(islice(self._within(depth), limit))

    def count(self, depth: int = 0) -> int:
        """Return how many runs are within depth levels, 0 all of them."""
        return len(self._unknown) + self._end(depth)

    def __getitem__(self, run_id: str) -> Reached:
        return self._all()[run_id]

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._all()

    def __iter__(self) -> Iterator[str]:
        return self._within(0)

    def __len__(self) -> int:
        return self.count()

    def items(self) -> ItemsView[str, Reached]:
        """Return runs and how they are reached."""
        return self._all().items()

    def values(self) -> ValuesView[Reached]:
        """Return how the runs are reached."""
        return self._all().values()

    def _within(self, depth: int) -> Iterator[str]:
        yield from self._unknown
        yield from islice(self._named(), self._end(depth))

    def _end(self, depth: int) -> int:
        rows = self._rows
        return int(np.searchsorted(rows.hops, depth)) if depth else len(rows.run)

    def _named(self) -> Iterator[str]:
        return map(self._names.__getitem__, self._rows.run.tolist())

    def _all(self) -> dict[str, Reached]:
        if self._by_run is None:
            rows = self._rows
            columns = rows.bound_ns.tolist(), rows.hops.tolist(), rows.by_file.tolist()
            found = {
                run_id: Reached(bound_ns, 0, by_file=True)
                for run_id, bound_ns in self._unknown.items()
            }
            found.update(zip(self._named(), map(Reached, *columns), strict=True))
            self._by_run = found
        return self._by_run
