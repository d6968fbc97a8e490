"""All rings of the kernel side, put in one order: what happened first is given first.

Each class of records has a ring of its own (bpf/maps.bpf.h), so that none crowds out a more
important one. Within a ring the kernel keeps the order; between rings the time decides. Every
record's clock is read before it enters its ring, so that of two records of one process the earlier
one was in its ring when the later one's clock was read. Hence: once every ring was read up to where
it ended at one moment, all records up to that moment are there, and later ones wait for the next
turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from whenced.record import RECORD
from whenced.ring import HotRing, RawTexts, TextRing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whenced.record import Rows

_PAGE_BYTES: Final = 4096  # the kernel's least
TABLE_ROWS: Final = 1 << 16
RECORD_RINGS: Final = 3
_NOTHING: Final = np.empty(0, dtype=RECORD)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of each ring, rows of the tables of counts; powers of two, named like the BPF maps."""

    life: int
    hot: int
    names: int
    life_text: int
    text: int
    use_first: int = TABLE_ROWS
    use_second: int = TABLE_ROWS

    @classmethod
    def of(
        cls, life_bytes: int, event_bytes: int, text_bytes: int, table_rows: int = TABLE_ROWS
    ) -> Self:
        """Share out what the settings say.

        A program that begins has about as many bytes of texts as a third of its three records;
        changes of names are rarer than touches.
        """
        return cls(
            life_bytes,
            event_bytes,
            max(_PAGE_BYTES, event_bytes // 2),
            max(_PAGE_BYTES, life_bytes // 2),
            text_bytes,
            table_rows,
            table_rows,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look read out of the rings."""

    pieces: tuple[tuple[int, Rows, int], ...]  # ring, rows, boot ns up to which it was read
    texts: RawTexts
    looked_ns: int = 0  # boot clock, before the look
    last: bool = False
    is_early: bool = False  # room was made; nothing is due


class Rings:
    """The rings of one capture. Used by one thread at a time.

    What read() gave keeps its room in the rings until release().
    """

    def __init__(self, fd_of: Callable[[str], int], sizes: Sizes) -> None:
        self.life = HotRing(fd_of("life"), sizes.life)
        self.hot = HotRing(fd_of("hot"), sizes.hot)
        self.names = HotRing(fd_of("names"), sizes.names)
        self._texts = (
            TextRing(fd_of("life_text"), sizes.life_text),
            TextRing(fd_of("text"), sizes.text),
        )
        self._records = (self.life, self.hot, self.names)
        self.sorter = Sorter(RECORD_RINGS)

    def close(self) -> None:
        """Unmap all."""
        for ring in (*self._records, *self._texts):
            ring.close()

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that are readable when records wait."""
        return tuple(ring.fd for ring in self._records)

    @property
    def backlog_bytes(self) -> int:
        """Bytes of records that wait in the rings."""
        return sum(ring.backlog_bytes for ring in self._records)

    @property
    def positions(self) -> tuple[int, ...]:
        """Up to where each ring was read."""
        return tuple(ring.consumed for ring in (*self._records, *self._texts))

    def go_to(self, positions: Sequence[int]) -> None:
        """Read on where a process that is gone stopped."""
        for ring, position in zip((*self._records, *self._texts), positions, strict=True):
            ring.go_to(position)

    def release(self) -> None:
        """Give back the room of everything that was read."""
        for ring in (*self._records, *self._texts):
            ring.release()

    def read_life(self) -> Turn:
        """Read what matters most, to make room for more of it."""
        return Turn(((0, self.life.drain(), 0),), self._texts[0].drain(), is_early=True)

    def read(self, now_ns: int, *, last: bool = False) -> Turn:
        """Read every ring up to where it ends now, then all texts.

        ``now_ns`` is the boot clock, read before the call. ``last``: whatever is there is due.
        """
        ends = [ring.produced for ring in self._records]
        pieces = []
        for number, (ring, end) in enumerate(zip(self._records, ends, strict=True)):
            while len(rows := ring.drain()):
                pieces.append((number, rows, 0))
                if ring.consumed >= end:
                    break
            # else the record at the head is still being written
            pieces.append((number, _NOTHING, now_ns if ring.consumed >= end else 0))
        texts = self._texts[0].drain() + self._texts[1].drain()
        return Turn(tuple(pieces), texts, now_ns, last=last)

    def take(self, now_ns: int, *, last: bool = False) -> tuple[Rows, RawTexts]:
        """Return records up to ``now_ns``, in their order, and all texts that they name."""
        turn = self.read(now_ns, last=last)
        self.release()
        return self.sorter.sort(turn)


class Sorter:
    """Turns into records in their order, with the texts that they name. Pure."""

    def __init__(self, rings: int) -> None:
        self._order = Order(rings)
        self._early_texts = RawTexts()

    @property
    def held_rows(self) -> int:
        """Records that wait for their turn."""
        return self._order.held_rows

    @property
    def frontier_ns(self) -> int:
        """Boot ns up to which every record was given."""
        return self._order.frontier_ns

    def sort(self, turn: Turn) -> tuple[Rows, RawTexts]:
        """Take a turn; return what is due by it."""
        for ring, rows, reached_ns in turn.pieces:
            self._order.put(ring, rows, reached_ns)
        if turn.is_early:
            self._early_texts += turn.texts
            return _NOTHING, RawTexts()
        texts, self._early_texts = self._early_texts + turn.texts, RawTexts()
        return self._order.take(last=turn.last), texts


class Order:
    """Records of several rings until they are due. Pure."""

    def __init__(self, rings: int) -> None:
        self._waiting: list[list[Rows]] = [[] for _ in range(rings)]
        self._reached_ns = [0] * rings
        self.held_rows = 0

    @property
    def frontier_ns(self) -> int:
        """Boot ns up to which everything was put."""
        return min(self._reached_ns)

    def put(self, ring: int, rows: Rows, reached_ns: int) -> None:
        """Add the next records of a ring, which was read up to that time, or up to the last one."""
        if len(rows):
            self._waiting[ring].append(rows)
            self.held_rows += len(rows)
            reached_ns = max(reached_ns, int(rows["at_ns"].max()))
        self._reached_ns[ring] = max(self._reached_ns[ring], reached_ns)

    def take(self, *, last: bool = False) -> Rows:
        """Return what is due, oldest first; with ``last`` all that there is."""
        until_ns = None if last else self.frontier_ns
        due = [rows for ring in range(len(self._waiting)) for rows in self._due(ring, until_ns)]
        self.held_rows -= sum(map(len, due))
        if len(due) <= 1:
            return due[0] if due else _NOTHING
        return _merged(due)

    def _due(self, ring: int, until_ns: int | None) -> list[Rows]:
        """What of a ring is not later than a time; a ring's own order is never changed."""
        if not (pieces := self._waiting[ring]):
            return []
        rows = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        # of several CPUs a record may be a little earlier than the one before it
        times = np.maximum.accumulate(rows["at_ns"])
        count = len(rows) if until_ns is None else int(times.searchsorted(until_ns, side="right"))
        self._waiting[ring] = [rows[count:].copy()] if count < len(rows) else []
        return [rows[:count]] if count else []


def _merged(pieces: list[Rows]) -> Rows:
    """Pieces that are in order each, as one; of equal times the earlier piece's is first."""
    times = np.concatenate([np.maximum.accumulate(rows["at_ns"]) for rows in pieces])
    rows: Rows = np.concatenate(pieces)[times.argsort(kind="stable")]
    return rows
