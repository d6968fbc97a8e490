"""Forks minus exits against who really lives: the balance of processes. Pure.

The kernel side tells births and ends; a walk over all tasks tells who lives. Where the two differ
a record was lost, or a process moved into the scope alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whenced.record import ALIVE_IN_SCOPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whenced.record import Rows

Lived = tuple[int, int]  # tgid, start_ns
# A record of a moment before the walk may come a moment after it (bpf/process.bpf.c on_exit is
# called after the kernel counted the last thread out): what two walks find is sure.
_SURE_LOOKS: Final = 2


@dataclass(frozen=True, slots=True)
class Walk:
    """Who lived at ``at_ns``."""

    at_ns: int
    alive: frozenset[Lived]
    in_scope: Mapping[Lived, tuple[int, int]]  # exec_id, uid

    @classmethod
    def of(cls, at_ns: int, rows: Rows) -> Walk:
        """Read ALIVE rows."""
        columns = ("process_tgid", "process_start_ns", "process_exec_id", "flags", "uid")
        everyone = list(zip(*(rows[name].tolist() for name in columns), strict=True))
        return cls(
            at_ns,
            frozenset((tgid, start_ns) for tgid, start_ns, *_ in everyone),
            {
                (tgid, start_ns): (exec_id, uid)
                for tgid, start_ns, exec_id, flags, uid in everyone
                if flags & ALIVE_IN_SCOPE
            },
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What a walk found and the records did not tell, each once."""

    unborn: tuple[Lived, ...]  # live, and nobody told of their birth
    undead: tuple[Lived, ...]  # gone, and nobody told of their end


class Balance:
    """Compares walks with what is known; remembers what it said."""

    def __init__(self) -> None:
        self._looks: dict[Lived, int] = {}
        self.walks = 0
        self.differences = 0

    def compare(self, walk: Walk, living: Mapping[Lived, int]) -> Difference:
        """Tell what is sure by now.

        ``living``: who lives by the records, with the boot ns of birth; every record of before
        the walk has been taken.
        """
        self.walks += 1
        unborn = {life for life in walk.in_scope if life not in living}
        undead = {
            life
            for life, born_ns in living.items()
            if born_ns < walk.at_ns and life not in walk.alive
        }
        self._looks = {life: self._looks.get(life, 0) + 1 for life in unborn | undead}
        sure = {life for life, looks in self._looks.items() if looks == _SURE_LOOKS}
        self.differences += len(sure)
        return Difference(tuple(sorted(unborn & sure)), tuple(sorted(undead & sure)))

    @property
    def is_open(self) -> bool:
        """Whether something differs that another walk must confirm."""
        return any(looks < _SURE_LOOKS for looks in self._looks.values())
