"""A kernel side whose rings and tables a test fills by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.unit.daemon_samples import FILE, NOW_NS, OUR_MOUNTS, walked

from whenced.record import ALIVE, CLASSES, LOSER, PROCESS, RECORD, USE, USE_KEY, Kind, Part, Rows
from whenced.ring import RawTexts
from whenced.rings import Turn

READER = {"process_tgid": 101, "process_start_ns": 2_000, "process_exec_id": 1}
SUBJECT = dict(zip(("file_device", "file_inode", "file_generation"), FILE, strict=True))


@dataclass
class Ring:
    """A ring whose content the test puts down."""

    fd: int
    waiting: list[Any] = field(default_factory=list)

    def drain(self) -> list[Any]:
        """Give what waits."""
        waiting, self.waiting = self.waiting, []
        return waiting


class HotRing(Ring):
    """The ring of records."""

    def drain(self) -> Rows:  # type: ignore[override] # rows, as the real one gives
        """Give what waits as rows."""
        return np.concatenate([np.empty(0, dtype=RECORD), *super().drain()])


@dataclass
class Rings:
    """The rings, as one that is always in order."""

    hot: HotRing
    text: Ring
    lives_taken: int = 0
    released: int = 0

    @property
    def fds(self) -> tuple[int, ...]:
        """Give what a record would wake."""
        return (self.hot.fd,)

    @property
    def positions(self) -> tuple[int, ...]:
        """Give up to where was read."""
        return (0,)

    def release(self) -> None:
        """Count how often room was given back."""
        self.released += 1

    def read_life(self) -> Turn:
        """Count that only the life cycle was taken."""
        self.lives_taken += 1
        return Turn((), RawTexts(), is_early=True)

    def read(self, now_ns: int, *, last: bool = False) -> Turn:
        """Give what waits."""
        empty = np.empty(0, dtype=RECORD)
        pieces = ((0, self.hot.drain(), now_ns), (1, empty, 1 << 62), (2, empty, 1 << 62))
        blocks = tuple(map(block, self.text.drain()))
        return Turn(pieces, RawTexts(blocks), now_ns, last=last)


def block(text: tuple[int, int, int, int, bytes]) -> bytes:
    """Lay a text out as the kernel does (bpf/record.h struct whence_text)."""
    number, part, flags, chunk, raw = text
    head = struct.pack("<IIQIIII", 24 + len(raw), 0, number, part, len(raw), flags, chunk)
    return head + raw + bytes(-len(raw) % 8)


@dataclass
class Kernel:
    """The kernel side."""

    rings: Rings
    created: int = 0
    table_rows: int = 1 << 16
    swaps: int = 0
    uses: tuple[Rows, Rows] = field(
        default_factory=lambda: (np.empty(0, dtype=USE_KEY), np.empty(0, dtype=USE))
    )
    attempted: dict[str, tuple[int, int, int]] = field(
        default_factory=lambda: dict.fromkeys(CLASSES, (0, 0, 0))
    )

    def stay_awake(self, now_ns: int) -> bool:
        """Never sleep."""
        return True

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Give the conservation counters."""
        return self.attempted

    def take_losers(self) -> tuple[Rows, Rows]:
        """Give who lost records."""
        return np.empty(0, dtype=PROCESS), np.empty(0, dtype=LOSER)

    def recursion_misses(self) -> dict[str, int]:
        """Give skipped calls of programs."""
        return {}

    def alive(self) -> Rows:
        """Give who lives."""
        return np.empty(0, dtype=ALIVE)

    def rows_since_swap(self) -> int:
        """Give how many rows the aggregate table has got."""
        return self.created

    def swap_uses(self, note: Any = None) -> tuple[Rows, Rows]:
        """Retire the aggregate table."""
        self.swaps, self.created = self.swaps + 1, 0
        uses, self.uses = self.uses, (np.empty(0, dtype=USE_KEY), np.empty(0, dtype=USE))
        return uses

    def see(self, kind: Kind, path: bytes | None = None, **fields: Any) -> None:
        """Put a record into the hot ring, and its path into the other."""
        row = np.zeros(1, dtype=RECORD)
        values = {"kind": kind, "at_ns": NOW_NS, "mount_ns": OUR_MOUNTS, **READER, **SUBJECT}
        if path is not None:
            values["text"] = 1_000 + len(self.rings.text.waiting)
            self.rings.text.waiting.append((values["text"], Part.PATH, 0, 0, walked(path)))
        for name, value in (values | fields).items():
            row[name] = value
        self.rings.hot.waiting.append(row)
