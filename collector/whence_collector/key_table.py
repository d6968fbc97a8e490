"""A bounded memory of number keys and their ids, asked about many keys at once.

An open-addressed hash table in arrays: a look-up costs a few numpy operations for all keys together
where a dictionary costs one Python object for each. A key is a row of 64-bit numbers; every number
of it is compared, the fingerprint only says where to look.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.seen import Fingerprints

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]  # shape (keys, numbers of each)

FIRST_ROWS = 1 << 12
SLOTS_PER_ROW = 2  # of a full table: chains stay short


class KeyTable:
    """Ids of keys: what was put in is found; rows is how many it takes before it has to grow."""

    __slots__ = ("_count", "_fingerprints", "_ids", "_keys", "_slots")

    def __init__(self, width: int, rows: int = FIRST_ROWS) -> None:
        self._count = 0
        self._keys: Keys = np.zeros((rows, width), np.uint64)
        self._ids: Ints = np.zeros(rows, np.int64)
        self._fingerprints: Fingerprints = np.zeros(rows, np.uint64)
        self._slots = _no_slots(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def room(self) -> int:
        """How many keys fit before it grows."""
        return len(self._ids)

    def find(self, fingerprints: Fingerprints, keys: Keys) -> Ints:
        """Return the id of each key, 0 where it is not here."""
        found = np.zeros(len(keys), np.int64)
        if not self._count:
            return found
        mask = len(self._slots) - 1
        asked = np.arange(len(keys))
        slots = _slots_of(fingerprints, mask)
        while len(asked):
            rows = self._slots[slots]
            taken = rows != 0
            asked, slots, rows = asked[taken], slots[taken], rows[taken] - 1
            same = self._fingerprints[rows] == fingerprints[asked]
            equal = self._keys[rows[same]] == keys[asked[same]]
            if not equal.all():  # two keys share a fingerprint
                same[same] = equal.all(1)
            found[asked[same]] = self._ids[rows[same]]
            other = ~same
            asked, slots = asked[other], (slots[other] + 1) & mask
        return found

    def add(self, fingerprints: Fingerprints, keys: Keys, ids: Ints) -> None:
        """Put in keys that are not here, each once."""
        first, last = self._count, self._count + len(keys)
        if last > len(self._ids):
            self._grow(last)
        self._keys[first:last], self._ids[first:last] = keys, ids
        self._fingerprints[first:last] = fingerprints
        self._count = last
        self._place(first, last)

    def _grow(self, rows: int) -> None:
        """Make room for so many rows; a row's slot depends on the size, so all are placed again."""
        size = 1 << (rows - 1).bit_length()
        self._keys, self._ids = _longer(self._keys, size), _longer(self._ids, size)
        self._fingerprints = _longer(self._fingerprints, size)
        self._slots = _no_slots(size)
        self._place(0, self._count)

    def _place(self, first: int, last: int) -> None:
        """Give each of these rows the next free slot from where its fingerprint points."""
        mask = len(self._slots) - 1
        rows = np.arange(first + 1, last + 1, dtype=np.int32)
        slots = _slots_of(self._fingerprints[first:last], mask)
        while len(rows):
            free = self._slots[slots] == 0
            self._slots[slots[free]] = rows[free]  # of several for one slot one gets it
            waiting = self._slots[slots] != rows
            rows, slots = rows[waiting], (slots[waiting] + 1) & mask


class RecentKeys:
    """Ids of the keys used last: at least the newest ``capacity``, at most about twice as many.

    Two generations, as in Recent. Nothing is forgotten before turn() is called.
    """

    __slots__ = ("_capacity", "_new", "_old", "_width")

    def __init__(self, width: int, capacity: int) -> None:
        self._capacity = capacity
        self._width = width
        self._new, self._old = KeyTable(width), KeyTable(width)

    def find(self, fingerprints: Fingerprints, keys: Keys) -> Ints:
        """Return the id of each key, 0 where it is not remembered."""
        found = self._new.find(fingerprints, keys)
        absent = np.flatnonzero(found == 0)
        if len(absent) and len(self._old):
            older = self._old.find(fingerprints[absent], keys[absent])
            again = absent[older != 0]
            found[again] = older[older != 0]
            _, first = np.unique(found[again], return_index=True)
            kept = again[first]
            self._new.add(fingerprints[kept], keys[kept], found[kept])
        return found

    def add(self, fingerprints: Fingerprints, keys: Keys, ids: Ints) -> None:
        """Remember keys that are not remembered yet, each once."""
        self._new.add(fingerprints, keys, ids)

    def turn(self) -> None:
        """Forget the older generation if the newer one is full."""
        if len(self._new) >= self._capacity:
            self._old, self._new = self._new, KeyTable(self._width, self._new.room)

    def clear(self) -> None:
        """Forget everything."""
        self._old, self._new = KeyTable(self._width), KeyTable(self._width)


def distinct(fingerprints: Fingerprints, keys: Keys) -> tuple[Ints, Ints]:
    """Return where each different key stands first, in that order, and for all keys which it is.

    There must be one key at least.
    """
    order = np.argsort(fingerprints)
    ordered = fingerprints[order]
    begins = np.ones(len(order), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(begins) - 1
    first = np.minimum.reduceat(order, np.flatnonzero(begins))
    if not np.array_equal(keys[first][which], keys):  # two keys share a fingerprint
        _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[which.reshape(-1)]


def _no_slots(rows: int) -> npt.NDArray[np.int32]:
    """Return empty slots, which hold a row's number + 1; a power of two of them."""
    return np.zeros(rows * SLOTS_PER_ROW, np.int32)


def _slots_of(fingerprints: Fingerprints, mask: int) -> Ints:
    return (fingerprints & np.uint64(mask)).astype(np.int64)


def _longer(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    grown = np.zeros((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
