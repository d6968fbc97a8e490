"""Empties the kernel's rings and tables into memory as they fill, in a thread of its own.

So that a slow spell of the loop loses nothing. Decides nothing: what was taken is handed over in
the order in which it has to be understood. See capture.py.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whenced import priority
from whenced.record import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.loader import Capture
    from whenced.record import Rows

    RawText = tuple[int, int, int, int, bytes]

_SECOND_NS: Final = 1_000_000_000
# Between two drains at least: under load a wake-up per record would cost more than the records.
_PACE_S: Final = 0.005
# In a flood, where each turn costs the loop as much as twenty records: the rings hold far more.
_FLOOD_PACE_S: Final = 0.02
_FLOOD_ROWS: Final = 200
_SWAP_NS: Final = _SECOND_NS
_SWAP_URGENT_NS: Final = 150_000_000
# Half of the aggregate table (bpf/maps.bpf.h): then it is swapped whatever the time.
_SWAP_ROWS: Final = 1 << 15
# How old the number of its rows may be: asking costs as much as 50 touches, and the other half
# of the table is not filled in this time.
_ROWS_FRESH_NS: Final = 50_000_000
# Handed over at once: about 0.1 s of the loop's work, so that hash jobs leave in between.
LOAD_ROWS: Final = 2_000
# What a flood may make the daemon hold: 31 MB of records, and about half as much of texts.
HELD_ROWS: Final = 120_000
# When that is held, of births and ends so many more: their ring is emptied whatever the others do.
LIFE_ROWS: Final = 60_000
# Looks until what was there when the table of counts was retired has left its rings: a program that
# the processor was taken from may be in the middle of a record.
_LOOKS: Final = 20
_LOOK_S: Final = 0.0005


def boot_ns() -> int:
    """CLOCK_BOOTTIME now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Load:
    """Texts, then records that name them or earlier ones, then counts that belong after these.

    What is None was not part of it; of a drain in several loads, the first holds all texts.
    """

    rows: Rows | None = None
    texts: Iterable[RawText] | None = None
    uses: tuple[Rows, Rows] | None = None
    # No record of before the look was left in a ring: each text was named by now or soon will be.
    is_whole: bool = True
    # A process ended before the counts were taken: somebody may ask soon.
    is_urgent: bool = False
    taken_ns: int = 0
    # Boot ns up to which this and earlier loads hold everything; 0: not known.
    settled_ns: int = 0


class Intake:
    """Takes from the kernel side, keeps, and gives by take(); readable at fileno() when it has."""

    def __init__(
        self, kernel: Capture, clock_ns: Callable[[], int], held_rows: int = HELD_ROWS
    ) -> None:
        self._kernel, self._limit_rows = kernel, held_rows
        self._clock_ns = clock_ns
        self._loads: deque[Load] = deque()
        self._lock = threading.Lock()
        self._held_rows = 0
        self._swapped_ns = clock_ns()
        self._asked_ns = -_ROWS_FRESH_NS
        self._created = 0
        self._exit_seen = False
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
        return self._held_rows

    @property
    def held_share(self) -> float:
        """How much of the memory for records is in use, 0 to 1."""
        return self._held_rows / self._limit_rows

    def waited_ns(self, now_ns: int) -> int:
        """How long the oldest load waits to be taken."""
        with suppress(IndexError):  # another thread may take the last one
            return now_ns - self._loads[0].taken_ns
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
        with self._lock:
            if not self._loads:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._ready_fd)
                self.settled_ns = max(self.settled_ns, self._quiet_ns)
                return None
            load = self._loads.popleft()
            self.settled_ns = max(self.settled_ns, load.settled_ns)
            if load.rows is not None:
                self._held_rows -= len(load.rows)
            return load

    def pump(self, now_ns: int, *, last: bool = False) -> None:
        """Take what is there; retire the table of counts when that is due."""
        with self._lock:
            drained = self._held_rows < self._limit_rows or last
            if drained:
                self._drain(now_ns, last=last)
            elif self._kernel.rings.held_rows < LIFE_ROWS:
                self._kernel.rings.take_life()
            if self._is_swap_due(now_ns, last):
                self._swap(now_ns, last=last)
            elif drained and self._asked_ns == now_ns and not self._created:
                self._quiet_ns = min(now_ns, self._kernel.rings.frontier_ns)
            if self._loads:
                os.eventfd_write(self._ready_fd, 1)

    def _run(self) -> None:
        priority.set_nice(priority.INTAKE)
        ready = select.poll()
        for fd in (*self._kernel.rings.fds, self._stop_fd):
            ready.register(fd, select.POLLIN)
        while True:
            wait_ns = _SWAP_URGENT_NS if self._exit_seen else _SWAP_NS
            if self._kernel.rings.held_rows:
                wait_ns = 0  # their turn comes with the next look
            found = [fd for fd, _ in ready.poll(wait_ns // 1_000_000)]
            if self._stop_fd in found:
                return
            held = self._held_rows
            self.pump(self._clock_ns())
            flooded = self._held_rows - held > _FLOOD_ROWS
            time.sleep(_FLOOD_PACE_S if flooded else _PACE_S)

    def _drain(self, now_ns: int, *, last: bool = False) -> None:
        """Take records in the order in which they happened, with their texts."""
        looked_ns = self._clock_ns()
        rows, texts = self._kernel.rings.take(looked_ns, last=last)
        is_whole = self._kernel.rings.frontier_ns >= looked_ns
        if not len(rows):
            if early := list(texts):  # their records are on their way
                self._loads.append(Load(texts=early, is_whole=is_whole, taken_ns=now_ns))
            return
        self._exit_seen = self._exit_seen or bool((rows["kind"] == Kind.EXIT).any())
        self._held_rows += len(rows)
        for begin in range(0, len(rows), LOAD_ROWS):
            part = rows[begin : begin + LOAD_ROWS]
            load = Load(part, None if begin else texts, is_whole=is_whole, taken_ns=now_ns)
            self._loads.append(load)

    def _is_swap_due(self, now_ns: int, last: bool) -> bool:
        waited_ns = now_ns - self._swapped_ns
        due = last or waited_ns > (_SWAP_URGENT_NS if self._exit_seen else _SWAP_NS)
        if not due and now_ns - self._asked_ns < _ROWS_FRESH_NS:
            return False
        self._asked_ns = now_ns
        created = self._created = self._kernel.rows_since_swap()
        if not created:
            self._exit_seen = False  # a process without counts, as a subshell
        return created > _SWAP_ROWS or (due and created > 0)

    def _swap(self, now_ns: int, *, last: bool = False) -> None:
        """Retire the table. Touches that precede its rows are drained first."""
        uses, retired_ns = self._kernel.swap_uses(), self._clock_ns()
        for look in range(_LOOKS):
            self._drain(now_ns, last=last)
            if self._kernel.rings.frontier_ns >= retired_ns:
                break
            time.sleep(_LOOK_S * bool(look))
        settled_ns = min(now_ns, self._kernel.rings.frontier_ns)
        self._loads.append(
            Load(uses=uses, is_urgent=self._exit_seen, taken_ns=now_ns, settled_ns=settled_ns)
        )
        self._swapped_ns, self._exit_seen = now_ns, False
