"""What was taken from the kernel side and waits for the loop: turns and tables into loads. Pure.

The same turns and tables make the same loads with the same numbers, so that a daemon which goes on
after a death makes them again from what was written down (journal.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from whenced.record import Kind
from whenced.rings import RECORD_RINGS, Sorter

if TYPE_CHECKING:
    from whenced.record import Rows
    from whenced.ring import RawTexts
    from whenced.rings import Turn

# Handed over at once: about 0.1 s of the loop's work, so that hash jobs leave in between.
LOAD_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Load:
    """Texts, then records that name them or earlier ones, then counts that belong after these.

    What is None was not part of it; of a drain in several loads, the first holds all texts.
    """

    rows: Rows | None = None
    texts: RawTexts | None = None
    uses: tuple[Rows, Rows] | None = None
    # No record of before the look was left in a ring: each text was named by now or soon will be.
    is_whole: bool = True
    # A process ended before the counts were taken: somebody may ask soon.
    is_urgent: bool = False
    taken_ns: int = 0
    # Boot ns up to which this and earlier loads hold everything; 0: not known.
    settled_ns: int = 0
    number: int = 0  # of the capture, from 1


@dataclass(slots=True)
class LoadQueue:
    """Loads in the order in which they have to be understood."""

    sorter: Sorter = field(default_factory=lambda: Sorter(RECORD_RINGS))
    exit_seen: bool = False
    held_rows: int = 0
    # A table of counts that was retired and whose touches have not all been taken.
    retired: tuple[Rows, Rows] | None = None
    _loads: deque[Load] = field(default_factory=deque)
    _number: int = 0

    def __len__(self) -> int:
        return len(self._loads)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest load was taken."""
        return self._loads[0].taken_ns if self._loads else None

    def turn(self, turn: Turn, taken_ns: int) -> None:
        """Add what one look read out of the rings."""
        rows, texts = self.sorter.sort(turn)
        is_whole = self.sorter.frontier_ns >= turn.looked_ns
        if not len(rows):
            if texts.blocks:  # their records are on their way
                self._add(Load(None, texts, is_whole=is_whole, taken_ns=taken_ns))
            return
        self.exit_seen = self.exit_seen or bool((rows["kind"] == Kind.EXIT).any())
        self.held_rows += len(rows)
        for begin in range(0, len(rows), LOAD_ROWS):
            part = rows[begin : begin + LOAD_ROWS]
            load = Load(part, None if begin else texts, is_whole=is_whole, taken_ns=taken_ns)
            self._add(load)

    def counted(self, taken_ns: int, settled_ns: int) -> None:
        """Add the retired table: every touch that precede its rows was taken."""
        self._add(
            Load(
                uses=self.retired,
                is_urgent=self.exit_seen,
                taken_ns=taken_ns,
                settled_ns=settled_ns,
            )
        )
        self.retired, self.exit_seen = None, False

    def pop(self) -> Load:
        """Return the oldest load. Raises IndexError."""
        load = self._loads.popleft()
        if load.rows is not None:
            self.held_rows -= len(load.rows)
        return load

    def _add(self, load: Load) -> None:
        self._number += 1
        self._loads.append(replace(load, number=self._number))
