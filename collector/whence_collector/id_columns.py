"""Numbers by dense id, in arrays that grow as ids do: one, or several, for each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Ints = npt.NDArray[np.int64]


class Column:
    """A number per id, growing as ids do."""

    def __init__(self, empty: int = 0, of: type[np.signedinteger[Any]] = np.int64) -> None:
        self._empty = empty
        self._values: npt.NDArray[Any] = np.full(1024, empty, of)

    def reach(self, highest: int) -> npt.NDArray[Any]:
        """Return the values, long enough to be indexed by highest."""
        if highest >= len(self._values):
            length = max(highest + 1, 2 * len(self._values))
            grown = np.full(length, self._empty, self._values.dtype)
            grown[: len(self._values)] = self._values
            self._values = grown
        return self._values

    def copy(self) -> npt.NDArray[Any]:
        """Return a copy of the values, up to the last that is not empty."""
        filled = np.flatnonzero(self._values != self._empty)
        return self._values[: int(filled[-1]) + 1 if len(filled) else 0].copy()

    def take(self, values: npt.NDArray[Any]) -> None:
        """Hold these values from id 0 on; only for an empty column."""
        if len(values):
            self.reach(len(values) - 1)[: len(values)] = values

    def get(self, at: int) -> int:
        """Return one value."""
        return int(self._values[at]) if at < len(self._values) else self._empty


class Groups:
    """Several values per id, where nearly every id has one: the first in a column."""

    def __init__(self) -> None:
        self._first = Column()
        self._many = Column(of=np.int8)
        self._more: dict[int, list[int]] = {}

    def add(self, at: int, value: int) -> None:
        """Add a value that may be there already."""
        first = self._first.reach(at)
        if first[at] == 0:
            first[at] = value
        elif value != first[at]:
            more = self._more.setdefault(at, [])
            if value not in more:
                more.append(value)
                self._many.reach(at)[at] = 1

    def add_all(self, at: Ints, values: Ints) -> None:
        """Add values to the ids beside them."""
        if not len(at):
            return
        first = self._first.reach(int(at.max()))
        new = first[at] == 0
        ids, earliest = np.unique(at[new], return_index=True)
        first[ids] = values[new][earliest]
        for row in np.flatnonzero(first[at] != values).tolist():
            self.add(int(at[row]), int(values[row]))

    def get(self, at: int) -> list[int]:
        """Return the values of an id in the order in which they came."""
        first = self._first.get(at)
        return [first, *self._more.get(at, ())] if first else []

    def columns(self) -> dict[str, Ints]:
        """Return copies of what is held, for add_columns()."""
        pairs = [(at, value) for at, values in self._more.items() for value in values]
        more = np.array(pairs, np.int64).reshape(-1, 2)
        return {"first": self._first.copy(), "more_at": more[:, 0], "more": more[:, 1]}

    def add_columns(self, columns: Mapping[str, Ints]) -> None:
        """Take in what columns() gave; only into empty groups."""
        self._first.take(columns["first"])
        for at, value in zip(columns["more_at"].tolist(), columns["more"].tolist(), strict=True):
            self.add(at, value)

    def firsts(self, highest: int) -> Ints:
        """Return the column of first values, 0 for none."""
        return self._first.reach(highest)

    def many(self, highest: int) -> npt.NDArray[np.int8]:
        """Return the column that is 1 where an id has more than one value."""
        return self._many.reach(highest)
