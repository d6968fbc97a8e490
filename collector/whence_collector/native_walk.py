"""The walk in machine code, where it was built: the binding of collector/native/walk.c.

Only calls; lineage.py decides from where and does without it where there is none.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from whence_collector.reached import Rows

if TYPE_CHECKING:
    from whence_collector.edge_arrays import Ints, Side

OBJECT: Final = Path(__file__).resolve().parent / "_native" / "walk.so"
NOT_REACHED: Final = np.iinfo(np.int64).min

Walk = Callable[[Sequence["Side"], int, "Ints", "Ints"], Rows]


class _Side(ctypes.Structure):
    """struct side of walk.c."""

    _fields_ = (
        ("runs", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("first", "other", "gate", "gives", "is_file")),
    )


class _Walk(ctypes.Structure):
    """struct walk of walk.c."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("bounds", "hops", "by_file", "order", "heap", "place")
    )


@functools.cache
def native_walk() -> Walk | None:
    """Return the walk, None where it was not built for this machine."""
    try:
        library = ctypes.CDLL(str(OBJECT))
    except OSError:
        return None
    walk = library.whence_walk
    walk.restype = ctypes.c_int64
    walk.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def reach(sides: Sequence[Side], runs: int, starts: Ints, bounds: Ints) -> Rows:
        return _reach(walk, sides, runs, (starts, bounds))

    return reach


def _reach(
    walk: Callable[..., int], sides: Sequence[Side], runs: int, starts: tuple[Ints, Ints]
) -> Rows:
    """Walk from some runs of a graph with their bounds; others may compute meanwhile."""
    begin, bound = starts
    bounds = np.full(runs, NOT_REACHED)
    hops = np.full(runs, -1, np.int32)
    by_file = np.zeros(runs, np.bool_)
    order, heap = np.empty(runs, np.int64), np.empty(runs, np.int64)
    place = np.zeros(runs, np.int32)
    bounds[begin], order[: len(begin)] = bound, begin
    memory = _Walk(*(each.ctypes.data for each in (bounds, hops, by_file, order, heap, place)))
    edges = (_Side * max(len(sides), 1))(*(_side(each) for each in sides))
    count = walk(ctypes.byref(memory), edges, len(sides), len(begin))
    at = order[:count].copy()
    return Rows(at, bounds[at], hops[at].astype(np.int64), by_file[at])


def _side(side: Side) -> _Side:
    columns = (side.first, side.other, side.gate, side.gives, side.is_file)
    return _Side(len(side.first) - 1, *(column.ctypes.data for column in columns))
