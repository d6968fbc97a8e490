"""The kernel's account of a process against what was captured of it. Pure.

The kernel counts bytes of read(2), write(2) and their kin on everything that has a descriptor
(fs/read_write.c add_rchar()). Captured are regular files alone; the kernel program adds up the
rest without looking at it (struct whence_moved), and what io_uring moved, which the kernel does
not account. libaio and splice it does not account either: what they moved counts as seen, so a
process that uses them is compared less sharply. Each task's numbers are rounded down to 1,024
(kernel/tsacct.c xacct_add_tsk()): what seems too much by less is not. Calls are rounded so too
and count those that failed: they are not compared.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from whenced.record import Kind
from whenced.rows import AccountRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whenced.record import Rows
    from whenced.rows import ProcessKey
    from whenced.taskstats import Account

_SECOND_NS: Final = 1_000_000_000
# Threads that end together: the account of one may come after the end of all.
_LATE_NS: Final = _SECOND_NS
_FORGET_NS: Final = 10 * _SECOND_NS
# Below it a process is not worth a row; nothing that moves data stays below.
_LEAST_BYTES: Final = 64 << 10
# An exec makes the kernel read headers in the process's name (fs/exec.c, fs/binfmt_elf.c).
_EXEC_BYTES: Final = 16 << 10

Lived = tuple[int, int]  # tgid, start_ns


class Introduced(Protocol):
    """Who is known from birth (processes.Processes)."""

    def born(self, tgid: int, start_ns: int) -> ProcessKey | None:
        """Newest image of a process whose fork was seen, else None."""


class End(NamedTuple):
    """A process that ended, with what it moved elsewhere."""

    life: Lived
    at_ns: int
    read: int
    written: int
    read_uring: int
    written_uring: int


@dataclass(slots=True)
class _Sum:
    """What the kernel accounts to one process, its threads added up."""

    at_ns: int
    read_bytes: int = 0
    written_bytes: int = 0
    read_calls: int = 0
    written_calls: int = 0


@dataclass(slots=True)
class Oracle:
    """Adds up both sides and compares at the end of a process."""

    processes: Introduced
    since_ns: int  # accounts before it are missing: who lived then is not compared
    compared: int = 0
    unaccounted: int = 0  # ends without an account
    _sums: dict[int, _Sum] = field(default_factory=dict)  # by tgid
    _seen: dict[Lived, list[int]] = field(default_factory=dict)
    _ended: deque[End] = field(default_factory=deque)

    def accounts(self, found: Iterable[Account], now_ns: int) -> None:
        """Take the kernel's accounts of tasks."""
        for account in found:
            total = self._sums.get(account.tgid)
            if total is None:
                total = self._sums[account.tgid] = _Sum(now_ns)
            total.at_ns = now_ns
            total.read_bytes += account.read_bytes
            total.written_bytes += account.written_bytes
            total.read_calls += account.read_calls
            total.written_calls += account.written_calls

    def overflowed(self, now_ns: int) -> None:
        """Accounts are missing: nobody who lives now can be compared."""
        self.since_ns = now_ns
        self._sums.clear()

    def uses(self, keys: Rows, uses: Rows) -> None:
        """Add counts of a retired table of uses."""
        if not len(keys):
            return
        lives = np.stack((keys["process_tgid"], keys["process_start_ns"]), 1)
        distinct, at = np.unique(lives, axis=0, return_inverse=True)
        read = np.bincount(at.ravel(), uses["read_bytes"].astype(np.float64))
        written = np.bincount(at.ravel(), uses["write_bytes"].astype(np.float64))
        for (tgid, start_ns), more_read, more_written in zip(
            distinct.tolist(), read.tolist(), written.tolist(), strict=True
        ):
            seen = self._seen.setdefault((tgid, start_ns), [0, 0])
            seen[0] += int(more_read)
            seen[1] += int(more_written)

    def received(self, rows: Rows) -> None:
        """Take the ends among records that arrived."""
        for row in rows[rows["kind"] == int(Kind.EXIT)]:
            self._ended.append(
                End(
                    (int(row["process_tgid"]), int(row["process_start_ns"])),
                    int(row["at_ns"]),
                    int(row["version"]),
                    int(row["size_bytes"]),
                    int(row["mtime_ns"]),
                    int(row["other_start_ns"]),
                )
            )

    def rows(self, now_ns: int, settled_ns: int, *, last: bool = False) -> list[AccountRow]:
        """Compare whoever ended long enough ago that both sides are whole."""
        found = []
        while self._ended and (last or self._is_whole(self._ended[0], now_ns, settled_ns)):
            row = self._compare(self._ended.popleft())
            if row is not None:
                found.append(row)
        return found

    def forget(self, now_ns: int, living: Iterable[Lived]) -> None:
        """Drop accounts of processes that nobody asks for: those outside the scope."""
        alive = {tgid for tgid, _ in living} | {end.life[0] for end in self._ended}
        for tgid in [
            tgid
            for tgid, total in self._sums.items()
            if total.at_ns < now_ns - _FORGET_NS and tgid not in alive
        ]:
            del self._sums[tgid]

    def _is_whole(self, end: End, now_ns: int, settled_ns: int) -> bool:
        return settled_ns > end.at_ns and now_ns > end.at_ns + _LATE_NS

    def _compare(self, end: End) -> AccountRow | None:
        seen = self._seen.pop(end.life, None) or [0, 0]
        total = self._sums.pop(end.life[0], None)
        process = self.processes.born(*end.life)
        if process is None or end.life[1] < self.since_ns:
            return None
        if total is None:
            self.unaccounted += 1
            return None
        self.compared += 1
        read = seen[0] - end.read_uring + end.read
        written = seen[1] - end.written_uring + end.written
        lacking = total.read_bytes - read + total.written_bytes - written
        if total.read_bytes + total.written_bytes < _LEAST_BYTES and lacking < _LEAST_BYTES:
            return None
        return AccountRow(
            process,
            end.at_ns,
            total.read_bytes,
            total.written_bytes,
            max(0, read),
            max(0, written),
            total.read_calls,
            total.written_calls,
            (process.image + 2) * _EXEC_BYTES,
        )
