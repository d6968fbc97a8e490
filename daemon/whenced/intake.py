"""Empties the kernel's rings and tables into memory as they fill, in a thread of its own.

So that a slow spell of the loop loses nothing. Decides nothing: what was taken is handed over in
the order in which it has to be understood. See capture.py.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from whenced import priority
from whenced.load_queue import Load, LoadQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from whenced.loader import Capture
    from whenced.record import Rows
    from whenced.rings import Turn

_SECOND_NS: Final = 1_000_000_000
# Between two drains at least: under load a wake-up per record would cost more than the records.
_PACE_S: Final = 0.005
# In a flood, where each turn costs the loop as much as twenty records: the rings hold far more.
_FLOOD_PACE_S: Final = 0.02
_FLOOD_ROWS: Final = 200
_SWAP_NS: Final = _SECOND_NS
_SWAP_URGENT_NS: Final = 150_000_000
# How old the number of its rows may be: asking costs as much as 50 touches, and the other half
# of the table is not filled in this time.
_ROWS_FRESH_NS: Final = 50_000_000
# What a flood may make the daemon hold: 13 MB of records, and about half as much of texts. What is
# beyond that waits in the rings, whose room is no memory of the daemon.
HELD_ROWS: Final = 50_000
# When that is held, of births and ends so many more: their ring is emptied whatever the others do.
LIFE_ROWS: Final = 20_000
# Looks until what was there when the table of counts was retired has left its rings: a program that
# the processor was taken from may be in the middle of a record.
_LOOKS: Final = 20
_LOOK_S: Final = 0.0005


def boot_ns() -> int:
    """CLOCK_BOOTTIME now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Notes(Protocol):
    """Where what was taken is written down before the kernel side may forget it (journal.py)."""

    def turn(self, turn: Turn, taken_ns: int, positions: tuple[int, ...]) -> None:
        """Note what was read out of the rings, up to where."""

    def retired(self, keys: Rows, uses: Rows, table: int) -> None:
        """Note what a table held that is about to be emptied."""

    def counted(self, taken_ns: int, settled_ns: int) -> None:
        """Note that the retired table has its place among the records."""


class Memory:
    """Notes nothing: a death of this process loses what it holds."""

    def turn(self, turn: Turn, taken_ns: int, positions: tuple[int, ...]) -> None:
        """Forget it."""

    def retired(self, keys: Rows, uses: Rows, table: int) -> None:
        """Forget it."""

    def counted(self, taken_ns: int, settled_ns: int) -> None:
        """Forget it."""


class Intake:
    """Takes from the kernel side, keeps, and gives by take(); readable at fileno() when it has."""

    def __init__(
        self,
        kernel: Capture,
        clock_ns: Callable[[], int],
        held_rows: int = HELD_ROWS,
        notes: Notes | None = None,
    ) -> None:
        self._kernel, self._limit_rows = kernel, held_rows
        self._clock_ns = clock_ns
        self.queue = LoadQueue()
        self.lock = threading.Lock()  # of the queue and the notes about it
        self._notes: Notes = notes or Memory()
        self._swapped_ns = clock_ns()
        self._asked_ns = -_ROWS_FRESH_NS
        self._created = 0
        self._beaten_ns = 0
        # The programs slept: nobody took what they said for a minute, not even this.
        self.is_deserted = False
        # Boot ns up to which everything was given by take(); of the table when it was empty.
        self.settled_ns = self._quiet_ns = 0
        self._ready_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take."""
        return self._ready_fd

    @property
    def held_rows(self) -> int:
        """Records that wait to be taken."""
        return self.queue.held_rows

    @property
    def held_share(self) -> float:
        """How much of the memory for records is in use, 0 to 1."""
        return self.queue.held_rows / self._limit_rows

    def waited_ns(self, now_ns: int) -> int:
        """How long the oldest load waits to be taken."""
        with suppress(IndexError):  # another thread may take the last one
            return now_ns - (self.queue.oldest_ns or now_ns)
        return 0

    def start(self) -> None:
        """Take from the kernel side from now on, whatever the caller is busy with."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then take everything that is there once more."""
        self.cancel()
        self.pump(self._clock_ns(), last=True)

    def cancel(self) -> None:
        """End the thread, if it runs: before the kernel side goes away."""
        if self._thread is not None:
            os.eventfd_write(self._stop_fd, 1)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self._ready_fd)
        os.close(self._stop_fd)

    def take(self, now_ns: int) -> Load | None:
        """Return the oldest load, None when there is none; without a thread, look first."""
        if self._thread is None:
            self.pump(now_ns)
        with self.lock:
            if not len(self.queue):
                with suppress(BlockingIOError):
                    os.eventfd_read(self._ready_fd)
                self.settled_ns = max(self.settled_ns, self._quiet_ns)
                return None
            load = self.queue.pop()
            self.settled_ns = max(self.settled_ns, load.settled_ns)
            return load

    def pump(self, now_ns: int, *, last: bool = False) -> None:
        """Take what is there; retire the table of counts when that is due."""
        with self.lock:
            if now_ns - self._beaten_ns > _SECOND_NS:
                self._beaten_ns = now_ns
                self.is_deserted = self.is_deserted or not self._kernel.stay_awake(now_ns)
            drained = self.queue.held_rows < self._limit_rows or last
            if drained:
                self._drain(now_ns, last=last)
            elif self.queue.sorter.held_rows < LIFE_ROWS:
                self._take(self._kernel.rings.read_life(), now_ns)
            if self.queue.retired is not None or self._is_swap_due(now_ns, last):
                self._swap(now_ns, last=last)
            elif drained and self._asked_ns == now_ns and not self._created:
                self._quiet_ns = min(now_ns, self.queue.sorter.frontier_ns)
            if len(self.queue):
                os.eventfd_write(self._ready_fd, 1)

    def _run(self) -> None:
        priority.set_nice(priority.INTAKE)
        ready = select.poll()
        for fd in (*self._kernel.rings.fds, self._stop_fd):
            ready.register(fd, select.POLLIN)
        while True:
            wait_ns = _SWAP_URGENT_NS if self.queue.exit_seen else _SWAP_NS
            if self.queue.sorter.held_rows:
                wait_ns = 0  # their turn comes with the next look
            found = [fd for fd, _ in ready.poll(wait_ns // 1_000_000)]
            if self._stop_fd in found:
                return
            held = self.queue.held_rows
            self.pump(self._clock_ns())
            flooded = self.queue.held_rows - held > _FLOOD_ROWS
            time.sleep(_FLOOD_PACE_S if flooded else _PACE_S)

    def _drain(self, now_ns: int, *, last: bool = False) -> None:
        """Take records in the order in which they happened, with their texts."""
        self._take(self._kernel.rings.read(self._clock_ns(), last=last), now_ns)

    def _take(self, turn: Turn, now_ns: int) -> None:
        """What was read is written down first, then the kernel side may forget it."""
        self._notes.turn(turn, now_ns, self._kernel.rings.positions)
        self._kernel.rings.release()
        self.queue.turn(turn, now_ns)

    def _is_swap_due(self, now_ns: int, last: bool) -> bool:
        waited_ns = now_ns - self._swapped_ns
        due = last or waited_ns > (_SWAP_URGENT_NS if self.queue.exit_seen else _SWAP_NS)
        if not due and now_ns - self._asked_ns < _ROWS_FRESH_NS:
            return False
        self._asked_ns = now_ns
        created = self._created = self._kernel.rows_since_swap()
        if not created:
            self.queue.exit_seen = False  # a process without counts, as a subshell
        # half of the table: then it is swapped whatever the time
        return 2 * created > self._kernel.table_rows or (due and created > 0)

    def _swap(self, now_ns: int, *, last: bool = False) -> None:
        """Retire the table. Touches that precede its rows are drained first."""
        if self.queue.retired is None:
            self.queue.retired = self._kernel.swap_uses(self._notes.retired)
        retired_ns = self._clock_ns()
        for look in range(_LOOKS):
            self._drain(now_ns, last=last)
            if self.queue.sorter.frontier_ns >= retired_ns:
                break
            time.sleep(_LOOK_S * bool(look))
        settled_ns = min(now_ns, self.queue.sorter.frontier_ns)
        taken_ns = max(now_ns, retired_ns)  # what is counted happened before
        self._notes.counted(taken_ns, settled_ns)
        self.queue.counted(taken_ns, settled_ns)
        self._swapped_ns = now_ns
