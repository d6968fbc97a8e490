"""The capture loop: rings to events to rows to batches. One thread, never waits for disk or net."""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whenced import priority
from whenced.hash_messages import HashReply
from whenced.intake import Intake, boot_ns
from whenced.rows import LossRow
from whenced.settled_reads import Drains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.batching import BatchBuilder, FlushPolicy, Outbox
    from whenced.gpu_watch import GpuWatch
    from whenced.hash_client import HashClient
    from whenced.hash_messages import Request
    from whenced.job_desk import JobDesk
    from whenced.loader import Capture
    from whenced.metrics import Metrics
    from whenced.observer import Observer
    from whenced.proof import Proof
    from whenced.record import Rows
    from whenced.rows import Row
    from whenced.text import TextStore
    from whenced.versions import Versions

_SECOND_NS: Final = 1_000_000_000
# A step costs something even when little happened: while nothing is behind, so long in between.
_PACE_S: Final = 0.005


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
    proof: Proof
    gpus: GpuWatch | None = None
    jobs: JobDesk | None = None  # None where its socket cannot be made


class CaptureLoop:
    """Runs until stop() is called; `taps` see every row before it is packed."""

    def __init__(self, parts: Parts, intake: Intake | None = None) -> None:
        self._parts = parts
        self.taps: list[Callable[[Iterable[Row]], None]] = []
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._unsent: list[Request] = []
        self._intake = intake or Intake(parts.kernel, boot_ns)
        self._tidied_ns = 0
        self._ended = 0
        self._sealed = 0
        self._nice: int | None = None
        self._drains = Drains(parts.observer, parts.versions)
        self._events = select.epoll()
        if parts.gpus is not None:
            parts.gpus.wake = self.wake
        for fd in (self._intake.fileno(), parts.hasher.fileno(), self._wake_fd):
            self._events.register(fd, select.EPOLLIN)
        if parts.jobs is not None:
            self._events.register(parts.jobs.fileno(), select.EPOLLIN)

    def wake(self) -> None:
        """Let the loop look at once; any thread may call it."""
        os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End the loop after one last drain; any thread may call it."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)

    def run(self) -> None:
        """Loop until stop(), then take what is left and flush once more."""
        self._intake.start()
        while not self._stopping:
            self._events.poll(self._patience_s(boot_ns()))
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake_fd)
            self._share_processors(boot_ns())
            started = time.perf_counter()
            self.step(boot_ns())
            self._parts.metrics.drain_seconds.observe(time.perf_counter() - started)
            if not self._intake.held_rows:
                time.sleep(_PACE_S)
        self._intake.stop()
        while self.step(boot_ns()):
            pass
        self._intake.close()
        self._flush(boot_ns(), last=True)
        self._events.close()

    def _share_processors(self, now_ns: int) -> None:
        """The jobs come first, until the loop falls behind."""
        wanted = priority.of_loop(self._intake.held_share, self._intake.waited_ns(now_ns))
        if wanted != self._nice:
            priority.set_nice(wanted)
            self._nice = wanted

    @property
    def held_rows(self) -> int:
        """Records that were taken from the kernel side and wait for the loop."""
        return self._intake.held_rows

    @property
    def settled_ns(self) -> int:
        """Boot ns up to which every record and count was taken and understood."""
        return self._intake.settled_ns

    def step(self, now_ns: int) -> bool:
        """Take what is there, decide, hand over what is due; False when nothing was there."""
        found = self._take(now_ns)
        self._parts.versions.tick(now_ns)
        self._send_requests()
        self._receive_replies(now_ns)
        self._parts.proof.step(now_ns, self._intake.settled_ns)
        self._mark_urgent(now_ns)
        if self._parts.jobs is not None and self._parts.jobs.take(now_ns):
            self._parts.policy.mark_urgent(now_ns)
        if self._parts.policy.wait_ns(self._waiting, now_ns) == 0:
            self._flush(now_ns)
        if now_ns - self._tidied_ns > _SECOND_NS:
            self._tidied_ns = now_ns
            self._parts.housekeeping(now_ns)
        return found

    def _take(self, now_ns: int) -> bool:
        """Loads up to the first with records, so that hash jobs leave soon."""
        parts, found = self._parts, False
        while (load := self._intake.take(now_ns)) is not None:
            found = True
            if load.texts is not None:
                parts.proof.ledger.texts(parts.texts.add(load.texts))
                if load.is_whole:
                    parts.texts.forget_unclaimed()
            if load.uses is not None:
                self._on_uses(*load.uses)
            if load.is_urgent:
                parts.policy.mark_urgent(now_ns)
            if load.rows is not None:
                parts.proof.received(load.rows)
                self._drains.handle(load.rows, parts.texts)
                break
        return found

    def _on_uses(self, keys: Rows, uses: Rows) -> None:
        self._parts.proof.uses(keys, uses)
        self._parts.observer.handle_uses(keys, uses, boot_ns())

    def _send_requests(self) -> None:
        jobs, observer = self._parts.versions.jobs, self._parts.observer
        asked = observer.inquiries.requests(boot_ns())
        waiting: list[Request] = [*self._unsent, *jobs.requests, *observer.code_requests, *asked]
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

    def _mark_urgent(self, now_ns: int) -> None:
        """Somebody may ask soon about a program that ended or a file that was hashed."""
        parts = self._parts
        if parts.gpus is not None and parts.gpus.urgent:
            parts.policy.mark_urgent(now_ns)
        if parts.observer.ended > self._ended or parts.versions.sealed_outputs > self._sealed:
            parts.policy.mark_urgent(now_ns)
            self._sealed, self._ended = parts.versions.sealed_outputs, parts.observer.ended
        if parts.proof.waiting:
            parts.policy.mark_urgent(now_ns)

    def _flush(self, now_ns: int, *, last: bool = False) -> None:
        parts = self._parts
        rows = parts.observer.take_rows()
        if parts.jobs is not None:
            rows += parts.jobs.take_rows()
        for tap in self.taps:
            tap(rows)
        parts.builder.extend(rows)
        if parts.gpus is not None:
            parts.builder.extend(parts.gpus.take(parts.observer.process_key, now_ns))
        proofs = parts.proof.rows(now_ns, self._intake.settled_ns, last=last)
        parts.builder.extend(proofs)
        for row in proofs:
            if isinstance(row, LossRow):
                parts.metrics.count_records(row.record_class, row.attempted, row.received, row.lost)
        parts.metrics.rows.inc(parts.builder.rows)
        wall_offset_ns = time.time_ns() - boot_ns()
        parts.metrics.batches.inc(parts.outbox.flush(now_ns, wall_offset_ns))
        parts.policy.flushed(now_ns)

    @property
    def _waiting(self) -> int:
        parts = self._parts
        gpus = parts.gpus.waiting if parts.gpus else 0
        words = parts.jobs.waiting if parts.jobs else 0
        return parts.observer.waiting + parts.proof.waiting + gpus + words

    def _patience_s(self, now_ns: int) -> float:
        """How long nothing needs to be done; a record ends the wait at once."""
        waits = [_SECOND_NS]
        if (due_ns := self._parts.versions.jobs.next_due_ns) is not None:
            waits.append(due_ns - now_ns)
        if (asking_ns := self._parts.observer.inquiries.due_ns) is not None:
            waits.append(asking_ns - now_ns)
        if (flush_ns := self._parts.policy.wait_ns(self._waiting, now_ns)) is not None:
            waits.append(flush_ns)
        return max(0.0, min(waits) / _SECOND_NS)
