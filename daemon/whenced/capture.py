"""The capture loop: rings to events to rows to batches. One thread, never waits for disk or net."""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from whenced.event import events
from whenced.hash_messages import HashReply
from whenced.losses import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.batching import BatchBuilder, FlushPolicy, Outbox
    from whenced.hash_client import HashClient
    from whenced.hash_messages import Request
    from whenced.loader import Capture
    from whenced.metrics import Metrics
    from whenced.observer import Observer
    from whenced.rows import Row
    from whenced.text import TextStore
    from whenced.versions import Versions

_SECOND_NS: Final = 1_000_000_000
# Between two drains at least: under load a wake-up per record would cost more than the records.
_PACE_S: Final = 0.005
_SWAP_NS: Final = _SECOND_NS
_SWAP_URGENT_NS: Final = 150_000_000
# Half of the aggregate table (bpf/maps.bpf.h): then it is swapped whatever the time.
_SWAP_ROWS: Final = 1 << 15
# How old the number of its rows may be: asking costs as much as 50 touches, and the other half
# of the table is not filled in this time.
_ROWS_FRESH_NS: Final = 50_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the loop joins; __main__ builds them."""

    kernel: Capture
    texts: TextStore
    observer: Observer
    versions: Versions
    hasher: HashClient
    builder: BatchBuilder
    outbox: Outbox
    policy: FlushPolicy
    metrics: Metrics
    housekeeping: Callable[[int], None]  # called about once a second with boot ns


def boot_ns() -> int:
    """CLOCK_BOOTTIME now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class CaptureLoop:
    """Runs until stop() is called; `taps` see every row before it is packed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.taps: list[Callable[[Iterable[Row]], None]] = []
        self.ledger = Ledger(boot_ns())
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._unsent: list[Request] = []
        self._swapped_ns = boot_ns()
        self._rows_asked_ns = 0
        self._rows_found = 0
        self._tidied_ns = 0
        self._ended = 0
        self._sealed = 0
        self._events = select.epoll()
        for fd in (parts.kernel.hot.fd, parts.hasher.fileno(), self._wake_fd):
            self._events.register(fd, select.EPOLLIN)

    def stop(self) -> None:
        """End the loop after one last drain; any thread may call it."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)

    def run(self) -> None:
        """Loop until stop(), then drain, swap and flush once more."""
        while not self._stopping:
            self._events.poll(self._patience_s(boot_ns()))
            started = time.perf_counter()
            self.step(boot_ns())
            self._parts.metrics.drain_seconds.observe(time.perf_counter() - started)
            time.sleep(_PACE_S)
        self._swapped_ns = 0
        self.step(boot_ns())
        self._flush(boot_ns())
        self._events.close()

    def step(self, now_ns: int) -> None:
        """Take what is there, decide, hand over what is due."""
        self._drain()
        self._parts.versions.tick(now_ns)
        self._send_requests()
        self._receive_replies(now_ns)
        if self._swap_due(now_ns):
            self._swap(now_ns)
        self._mark_urgent(now_ns)
        if self._parts.policy.wait_ns(self._parts.observer.waiting, now_ns) == 0:
            self._flush(now_ns)
        if now_ns - self._tidied_ns > _SECOND_NS:
            self._tidied_ns = now_ns
            self._parts.housekeeping(now_ns)

    def _drain(self) -> None:
        """Hot first, then all texts: so every record that was taken finds its texts."""
        parts = self._parts
        rows = parts.kernel.hot.drain()
        self.ledger.texts(parts.texts.add(parts.kernel.text.drain()))
        if rows.size:
            self.ledger.received(np.bincount(rows["kind"]))
            parts.observer.handle(events(rows), parts.texts)
        parts.texts.forget_unclaimed()

    def _send_requests(self) -> None:
        jobs, observer = self._parts.versions.jobs, self._parts.observer
        waiting: list[Request] = [*self._unsent, *jobs.requests, *observer.code_requests]
        jobs.requests, observer.code_requests = [], []
        sent = 0
        for request in waiting:
            if not self._parts.hasher.send(request):
                break
            sent += 1
        self._unsent = waiting[sent:]

    def _receive_replies(self, now_ns: int) -> None:
        """Take the answers; the requests of this step leave by the same call."""
        states: Counter[str] = Counter()
        hashed_bytes = 0
        for reply in self._parts.hasher.receive():
            self._parts.observer.on_reply(reply, now_ns)
            if isinstance(reply, HashReply):
                states[reply.state] += 1
                hashed_bytes += max(reply.size_bytes, 0)
        for state, count in states.items():
            self._parts.metrics.hash_jobs.labels(state).inc(count)
        self._parts.metrics.hashed_bytes.inc(hashed_bytes)

    def _swap_due(self, now_ns: int) -> bool:
        created = self._created(now_ns)
        if not created:
            return False
        waited_ns = now_ns - self._swapped_ns
        urgent = self._parts.observer.ended > self._ended and waited_ns > _SWAP_URGENT_NS
        return urgent or waited_ns > _SWAP_NS or created > _SWAP_ROWS

    def _created(self, now_ns: int, fresh_ns: int = _ROWS_FRESH_NS) -> int:
        """Rows that the aggregate table has got, as of a moment ago."""
        if now_ns - self._rows_asked_ns >= fresh_ns:
            self._rows_asked_ns = now_ns
            self._rows_found = self._parts.kernel.rows_since_swap()
        return self._rows_found

    def _swap(self, now_ns: int) -> None:
        """Retire the aggregate table. Touches that precede its rows are drained first."""
        keys, uses = self._parts.kernel.swap_uses()
        self._drain()
        self.ledger.aggregates(len(keys))
        self._parts.observer.handle_uses(keys, uses, boot_ns())
        self._swapped_ns = now_ns
        self._rows_asked_ns = 0

    def _mark_urgent(self, now_ns: int) -> None:
        """Somebody may ask soon about a program that ended or a file that was hashed."""
        parts = self._parts
        if parts.observer.ended > self._ended or parts.versions.sealed_outputs > self._sealed:
            parts.policy.mark_urgent(now_ns)
            self._sealed = parts.versions.sealed_outputs
            swapped = now_ns - self._swapped_ns < _SWAP_URGENT_NS
            # that there were rows stays true until the swap; that there were none does not
            if swapped or not (self._rows_found or self._created(now_ns, fresh_ns=1)):
                self._ended = parts.observer.ended

    def _flush(self, now_ns: int) -> None:
        parts = self._parts
        rows = parts.observer.take_rows()
        for tap in self.taps:
            tap(rows)
        parts.builder.extend(rows)
        losses = self.ledger.rows(parts.kernel.counts(), now_ns)
        parts.builder.extend(losses)
        for row in losses:
            parts.metrics.count_records(row.record_class, row.attempted, row.received, row.lost)
        parts.metrics.rows.inc(parts.builder.rows)
        wall_offset_ns = time.time_ns() - boot_ns()
        parts.metrics.batches.inc(parts.outbox.flush(now_ns, wall_offset_ns))
        parts.policy.flushed(now_ns)

    def _patience_s(self, now_ns: int) -> float:
        """How long nothing needs to be done; a record ends the wait at once."""
        waits = [_SECOND_NS]
        if (due_ns := self._parts.versions.jobs.next_due_ns) is not None:
            waits.append(due_ns - now_ns)
        if (
            flush_ns := self._parts.policy.wait_ns(self._parts.observer.waiting, now_ns)
        ) is not None:
            waits.append(flush_ns)
        if self._parts.observer.ended > self._ended:
            waits.append(self._swapped_ns + _SWAP_URGENT_NS - now_ns)
        return max(0.0, min(waits) / _SECOND_NS)
