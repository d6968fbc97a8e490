"""Two bounded memories of keys: which were seen at all, and the ids of the recent ones.

Neither knows the database; a "maybe" of the one and a miss of the other send the caller there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Key = TypeVar("Key", bound=Hashable)
Fingerprints = npt.NDArray[np.uint64]

FIRST_CAPACITY = 1 << 18
BITS_PER_KEY = 16
PROBES = 4
_BITS: npt.NDArray[np.uint8] = np.left_shift(1, np.arange(8)).astype(np.uint8)


class Recent(Generic[Key]):
    """Ids of the keys used last: at least the newest ``capacity``, at most about twice as many.

    Two generations instead of an ordered list: a hit costs one look-up, and forgetting is one
    assignment. Nothing is forgotten before turn() is called.
    """

    __slots__ = ("_capacity", "_new", "_old")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._new: dict[Key, int] = {}
        self._old: dict[Key, int] = {}

    def ids(self, keys: Sequence[Key]) -> npt.NDArray[np.int64]:
        """Return the id of each key, 0 where it is not remembered."""
        found = np.fromiter(map(self._new.get, keys, repeat(0)), np.int64, len(keys))
        if self._old:
            for position in np.flatnonzero(found == 0).tolist():
                key = keys[position]
                identity = self._old.get(key)
                if identity is not None:
                    self._new[key] = found[position] = identity
        return found

    def update(self, pairs: Mapping[Key, int]) -> None:
        """Remember more ids."""
        self._new.update(pairs)

    def turn(self) -> None:
        """Forget the older generation if the newer one is full."""
        if len(self._new) >= self._capacity:
            self._old, self._new = self._new, {}

    def clear(self) -> None:
        """Forget everything."""
        self._old, self._new = {}, {}


class SeenFilter:
    """A Bloom filter over 64-bit fingerprints that grows: "no" is sure, "maybe" is right in 99 %.

    Layers double in size, 16 bits a key and four probes: at most 0.3 % wrong "maybe" per layer.
    """

    __slots__ = ("_capacity", "_count", "_layers")

    def __init__(self) -> None:
        self._capacity = FIRST_CAPACITY
        self._count = 0
        self._layers = [_layer(self._capacity)]

    def add(self, fingerprints: Fingerprints) -> None:
        """Put keys in."""
        while len(fingerprints):
            if self._count >= self._capacity:
                self._capacity *= 2
                self._count = 0
                self._layers.append(_layer(self._capacity))
            room = self._capacity - self._count
            fitting, fingerprints = fingerprints[:room], fingerprints[room:]
            layer = self._layers[-1]
            for positions in _probes(fitting, len(layer) * 8):
                np.bitwise_or.at(layer, positions >> 3, _mask(positions))
            self._count += len(fitting)

    def maybe(self, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        """Tell for each key whether it may have been put in."""
        found = np.zeros(len(fingerprints), np.bool_)
        for layer in self._layers:
            inside = np.ones(len(fingerprints), np.bool_)
            for positions in _probes(fingerprints, len(layer) * 8):
                inside &= (layer[positions >> 3] & _mask(positions)) != 0
            found |= inside
        return found


def fingerprint(columns: Iterable[npt.NDArray[np.uint64]]) -> Fingerprints:
    """Mix equally long columns of a key into one well spread number a row (splitmix64)."""
    mixed: Fingerprints | None = None
    for column in columns:
        value = column if mixed is None else column ^ (mixed * np.uint64(0x9E3779B97F4A7C15))
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = value ^ (value >> np.uint64(31))
    return np.empty(0, np.uint64) if mixed is None else mixed


def _layer(capacity: int) -> npt.NDArray[np.uint8]:
    return np.zeros(capacity * BITS_PER_KEY // 8, np.uint8)


def _probes(fingerprints: Fingerprints, bits: int) -> list[npt.NDArray[np.int64]]:
    step = (fingerprints >> np.uint64(32)) | np.uint64(1)
    mask = np.uint64(bits - 1)
    return [
        ((fingerprints + np.uint64(probe) * step) & mask).astype(np.int64)
        for probe in range(PROBES)
    ]


def _mask(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.take(_BITS, positions & 7)
