"""The capture loop: rings to events to rows to batches. One thread, never waits for disk or net."""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from contextlib import suppress
from dataclasses import astuple
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from whenced import priority
from whenced.hash_messages import DONE, HashReply, HashRequest, InspectReply
from whenced.intake import Intake, boot_ns
from whenced.journal import Flush, Step
from whenced.parts import Parts
from whenced.resume import Again, Noted, keep
from whenced.rows import LossRow
from whenced.settled_reads import Drains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.batching import Packed
    from whenced.hash_messages import Reply, Request
    from whenced.journal import Found
    from whenced.load_queue import Load
    from whenced.record import Rows
    from whenced.rows import Row

_SECOND_NS: Final = 1_000_000_000
_START_NS: Final = 20_000_000  # procfs tells when a process began in ticks of 10 ms


class Diverged(Exception):  # noqa: N818 - what was found
    """What was written down does not fit together."""


class CaptureLoop:
    """Runs until stop() is called; `taps` see every row before it is packed."""

    def __init__(self, parts: Parts, intake: Intake | None = None) -> None:
        self._parts = parts
        self.taps: list[Callable[[Iterable[Row]], None]] = []
        self._send: Callable[[Request], bool] = parts.hasher.send
        self._kernel = parts.proof.kernel
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._unsent: list[Request] = []
        self._asked: dict[int, Request] = {}  # by ticket, until answered
        self._intake = intake or Intake(parts.kernel, boot_ns)
        self._noted = Noted(parts.proof.kernel)
        if parts.journal is not None:
            parts.proof.kernel = self._noted
        self._tidied_ns = 0
        self._ended = 0
        self._sealed = 0
        self._nice: int | None = None
        self._drains = Drains(parts.observer, parts.versions)
        self._events = select.epoll()
        # Whether the capture ends with run(); else another process goes on with it.
        self.is_last = True
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
            spent_s = time.perf_counter() - started
            self._parts.metrics.drain_seconds.observe(spent_s)
            waited_ns = self._intake.waited_ns(boot_ns())
            time.sleep(priority.rest_s(spent_s, self._intake.held_share, waited_ns))
        self._intake.stop()
        while self.step(boot_ns()):
            pass
        self._intake.close()
        self._end(boot_ns())
        self._events.close()

    def _end(self, now_ns: int) -> None:
        step = Step(now_ns, settled_ns=self._intake.settled_ns)
        self._flush(step, last=self.is_last)
        if not self.is_last:
            self._checkpoint()

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
        parts, step = self._parts, Step(now_ns)
        found = self._take(step)
        self._ask(now_ns)
        self._on_replies(self._receive(step), now_ns)
        step.settled_ns = self._intake.settled_ns
        self._prove(step)
        if parts.jobs is not None:
            before = parts.jobs.waiting
            if parts.jobs.take(now_ns):
                step.words = parts.jobs.rows_since(before)
                parts.policy.mark_urgent(now_ns)
        if parts.policy.wait_ns(self._waiting, now_ns) == 0:
            self._flush(step)
        else:
            self._note(step)
        if self._is_untidy(now_ns):
            parts.housekeeping(now_ns)
        if parts.journal is not None and parts.journal.is_full:
            self._checkpoint()
        return found

    def redo(self, step: Step, loads: Iterable[Load]) -> None:
        """Do again what a process that is gone did in one step; what left it then stays here."""
        now_ns, parts = step.now_ns, self._parts
        for load in loads:
            self._handle(load)
        self._ask(now_ns)
        self._on_replies([reply for reply, of in step.replies if self._fits(reply, of)], now_ns)
        self._prove(step)
        if parts.jobs is not None and step.words:
            parts.jobs.put_back(step.words)
            parts.policy.mark_urgent(now_ns)
        if step.flush is not None:
            parts.observer.take_rows()
            if parts.jobs is not None:
                parts.jobs.take_rows()
            parts.proof.rows(now_ns, step.settled_ns)
            parts.outbox.go_on(step.flush.outbox)
            parts.policy.flushed(now_ns)
        if self._is_untidy(now_ns):
            parts.forget(now_ns, step.settled_ns)

    def _fits(self, reply: Reply, of: tuple[Any, ...] | None) -> bool:
        """Whether an answer of then is of what was asked now; else it will be asked again."""
        asked = self._asked.get(reply.ticket)
        if self._answered(reply) == of:
            return True
        if asked is not None:
            self._asked[reply.ticket] = asked
        return False

    def state(self) -> dict[str, Any]:
        """Everything that the next process has to know, for resume.keep()."""
        parts = self._parts
        own = self._unsent, self._asked, self._tidied_ns, self._ended, self._sealed
        return {
            "observer": parts.observer,
            "versions": parts.versions,
            "texts": parts.texts,
            "proof": parts.proof,
            "policy": parts.policy,
            "outbox": parts.outbox.state,
            "loop": own,
            "words": [] if parts.jobs is None else parts.jobs.rows_since(0),
        }

    def go_on(self, found: Found, state: dict[str, Any]) -> None:
        """Do again what was done since a state, and ask again what was not answered.

        The parts were made of the state; this is what of it is the loop's own. Raises Diverged.
        """
        again = Again(self._kernel)
        self._parts.proof.kernel = again
        self._send = lambda _: True
        if state:
            self._take_over(state)
        for step in found.steps:
            again.put(step.answers)
            self.redo(step, [self._load(number) for number in step.taken])
        self._send = self._parts.hasher.send
        self._parts.proof.kernel = self._noted
        for request in self._asked.values():
            self._parts.hasher.send(request)

    def _load(self, number: int) -> Load:
        """The load that a step took then."""
        with self._intake.lock:
            load = self._intake.queue.pop()
        if load.number != number:
            raise Diverged(f"load {number} was taken, {load.number} is there")
        return load

    def _take_over(self, state: dict[str, Any]) -> None:
        self._unsent, self._asked, self._tidied_ns, self._ended, self._sealed = state["loop"]
        self._parts.outbox.go_on(state["outbox"])
        if self._parts.jobs is not None:
            self._parts.jobs.put_back(state["words"])

    def _is_untidy(self, now_ns: int) -> bool:
        if now_ns - self._tidied_ns <= _SECOND_NS:
            return False
        self._tidied_ns = now_ns
        return True

    def _take(self, step: Step) -> bool:
        """Loads up to the first with records, so that hash jobs leave soon."""
        while (load := self._intake.take(step.now_ns)) is not None:
            step.taken.append(load.number)
            self._handle(load)
            if load.rows is not None:
                break
        return bool(step.taken)

    def _handle(self, load: Load) -> None:
        parts = self._parts
        if load.texts is not None:
            parts.proof.ledger.texts(parts.texts.add(load.texts))
            if load.is_whole:
                parts.texts.forget_unclaimed()
        if load.uses is not None:
            self._on_uses(*load.uses, load.taken_ns)
        if load.is_urgent:
            parts.policy.mark_urgent(load.taken_ns)
        if load.rows is not None:
            parts.proof.received(load.rows)
            self._drains.handle(self._others(load.rows), parts.texts)

    def _others(self, rows: Rows) -> Rows:
        """Without what daemons did before they could be left out of a capture that went on."""
        for tgid, start_ns in self._parts.left_out:
            late = rows["process_start_ns"] - np.uint64(max(0, start_ns - _START_NS))
            rows = rows[(rows["process_tgid"] != tgid) | (late > 2 * _START_NS)]
        return rows

    def _prove(self, step: Step) -> None:
        self._parts.proof.step(step.now_ns, step.settled_ns)
        self._mark_urgent(step.now_ns)

    def _on_uses(self, keys: Rows, uses: Rows, now_ns: int) -> None:
        self._parts.proof.uses(keys, uses)
        self._parts.observer.handle_uses(keys, uses, now_ns)

    def _ask(self, now_ns: int) -> None:
        self._parts.versions.tick(now_ns)
        jobs, observer = self._parts.versions.jobs, self._parts.observer
        asked = observer.inquiries.requests(now_ns)
        waiting: list[Request] = [*self._unsent, *jobs.requests, *observer.code_requests, *asked]
        jobs.requests, observer.code_requests = [], []
        sent = 0
        for request in waiting:
            if not self._send(request):
                break
            if not (isinstance(request, HashRequest) and request.hold_only):
                self._asked[request.ticket] = request
            sent += 1
        self._unsent = waiting[sent:]

    def _receive(self, step: Step) -> list[Reply]:
        """Take the answers; the requests of this step leave by the same call."""
        replies = self._parts.hasher.receive()
        step.replies = [(reply, self._answered(reply)) for reply in replies]
        return replies

    def _answered(self, reply: Reply) -> tuple[Any, ...] | None:
        """What an answer is of, in words that another process uses as well."""
        if isinstance(reply, InspectReply) and reply.place != DONE:
            asked = self._asked.get(reply.ticket)
        else:
            asked = self._asked.pop(reply.ticket, None)
        if isinstance(asked, HashRequest):
            return asked.device, asked.inode, asked.generation, asked.version
        return None if asked is None else tuple(map(str, astuple(asked)[1:3]))

    def _on_replies(self, replies: list[Reply], now_ns: int) -> None:
        states: Counter[str] = Counter()
        hashed_bytes = 0
        for reply in replies:
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

    def _flush(self, step: Step, *, last: bool = False) -> None:
        parts, now_ns = self._parts, step.now_ns
        rows = parts.observer.take_rows()
        if parts.jobs is not None:
            rows += parts.jobs.take_rows()
        for tap in self.taps:
            tap(rows)
        parts.builder.extend(rows)
        if parts.gpus is not None:
            parts.builder.extend(parts.gpus.take(parts.observer.process_key, now_ns))
        proofs = parts.proof.rows(now_ns, step.settled_ns, last=last)
        parts.builder.extend(proofs)
        for row in proofs:
            if isinstance(row, LossRow):
                parts.metrics.count_records(row.record_class, row.attempted, row.received, row.lost)
        parts.metrics.rows.inc(parts.builder.rows)
        wall_offset_ns = time.time_ns() - boot_ns()
        note = partial(self._note_flush, step)
        parts.metrics.batches.inc(parts.outbox.flush(now_ns, wall_offset_ns, note))
        parts.policy.flushed(now_ns)

    def _note_flush(self, step: Step, batches: tuple[Packed, ...]) -> None:
        step.flush = Flush(batches, self._parts.outbox.state)
        self._note(step)

    def _note(self, step: Step) -> None:
        if self._parts.journal is not None:
            step.answers = self._noted.take()
            self._parts.journal.step(step)

    def _checkpoint(self) -> None:
        """Between two steps: what is kept is the state before the next one."""
        journal = self._parts.journal
        if journal is None:
            return
        with self._intake.lock:
            journal.rotate(self._intake.queue)
        unwritten = self._parts.outbox.unwritten()
        state = self.state() | {"unwritten": unwritten}
        journal.checkpoint(lambda file: keep(file, state))

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
