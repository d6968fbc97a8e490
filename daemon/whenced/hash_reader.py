"""The reading thread of the hasher: takes jobs in order, within a bounded share of CPU.

Never opens a file that the opener could open; never touches the daemon's socket itself.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from whenced.hash_file import Reading, Unsettled, digest_file, settle
from whenced.hash_messages import IDLE, READER, Board, HashReply
from whenced.hash_open import OpenedFile, open_requested, refused
from whenced.hash_queue import NO_FD, Job, JobQueue, Shelf
from whenced.share import SECOND_NS, Bucket, idle_disk_priority
from whenced.stat_cache import RACY_NS

#: A waiting job overtakes one that is being read if it is this much smaller.
_OVERTAKE: Final = 8
_OVERTAKEN_BYTES: Final = 8 << 20
_NAP_S: Final = 0.2
_IDLE_WAIT_S: Final = 0.5
#: Answers that may wait for each other, for how long, and behind what size of file.
_REPLIES: Final = 64
_REPLY_WITHIN_NS: Final = 5_000_000
_QUICK_BYTES: Final = 1 << 16
_SETTLE_NS: Final = 2 * RACY_NS
_SETTLE_LIMIT: Final = 256
_KEEPS_SPACE: Final = "deleted before it could be read, and too large to keep on the disk"


class Reader:
    """Reads what the queue holds. Built and used by one thread."""

    def __init__(
        self,
        queue: JobQueue,
        shelf: Shelf,
        board: Board,
        reply: Callable[[Sequence[HashReply]], None],
        reading: Reading,
        share: float,
    ) -> None:
        """Read with `reading` (its pause is replaced) at no more than `share` of one core."""
        self._queue = queue
        self._shelf = shelf
        self._board = board
        self._send = reply
        self._replies: list[HashReply] = []
        self._replied_ns = 0
        self._bucket = Bucket(share, time.monotonic_ns())
        self._charged_ns = time.thread_time_ns()
        self._swept_ns = time.monotonic_ns()
        self._current: Job | None = None
        self._new: list[Unsettled] = []
        self._settling: deque[tuple[int, int, Unsettled]] = deque()
        self._reading = replace(reading, pause=self._pause, unsettled=self._new.append)

    def run(self) -> None:
        """Read until the process ends."""
        idle_disk_priority()
        while True:
            self._mark()
            wait_s = _SETTLE_NS / SECOND_NS if self._settling else _IDLE_WAIT_S
            job = self._queue.take(0.0 if self._replies else wait_s)
            if job is None and self._replies:
                self._tell()
                continue
            if job is not None:
                self.read(job)
            elif self._reading.cache is not None and not self._settling:
                self._reading.cache.flush()
            self._settle(time.monotonic_ns())

    def read(self, job: Job) -> None:
        """Answer one job; may answer smaller ones meanwhile."""
        outer, self._current = self._current, job
        if job.size_bytes > _QUICK_BYTES:
            self._tell()
        self._mark()
        self._new.clear()
        fd, reply = self._read_opened(job)
        self._current = outer
        self._mark()
        self._reply(reply)
        if fd == NO_FD:
            return
        if reply.state == "busy":
            self._shelf.keep(job.request, fd, time.monotonic_ns())
        elif self._new and len(self._settling) < _SETTLE_LIMIT:
            self._settling.append((time.monotonic_ns() + _SETTLE_NS, fd, self._new.pop()))
        else:
            os.close(fd)

    def _reply(self, reply: HashReply) -> None:
        """Answer with the next few: each record of the socket costs as much as a small file."""
        self._replies.append(reply)
        now_ns = time.monotonic_ns()
        if len(self._replies) >= _REPLIES or now_ns - self._replied_ns > _REPLY_WITHIN_NS:
            self._tell()

    def _tell(self) -> None:
        if not self._replies:
            return
        replies, self._replies = self._replies, []
        self._replied_ns = time.monotonic_ns()
        self._send(replies)

    def _read_opened(self, job: Job) -> tuple[int, HashReply]:
        fd = job.fd
        if fd == NO_FD:
            opened = open_requested(job.request, self._reading.probe)
            if not isinstance(opened, OpenedFile):
                return NO_FD, opened
            fd = opened.fd
        return fd, digest_file(fd, job.request, self._reading)

    def _pause(self) -> None:
        """Between two chunks: rest if the share is used up, let small files overtake."""
        self._rest()
        self._mark()
        job = self._current
        if job is None or job.size_bytes < _OVERTAKEN_BYTES:
            return
        while small := self._queue.take_smaller(job.size_bytes // _OVERTAKE):
            self.read(small)
        self._tell()
        self._sweep()

    def _rest(self) -> None:
        now_ns, used_ns = time.monotonic_ns(), time.thread_time_ns()
        rest_ns = self._bucket.take(used_ns - self._charged_ns, now_ns)
        self._charged_ns = used_ns
        if rest_ns > 0:
            self._tell()
        while rest_ns > 0:
            nap_s = min(_NAP_S, rest_ns / SECOND_NS)
            time.sleep(nap_s)
            rest_ns -= int(nap_s * SECOND_NS)
            self._mark()

    def _sweep(self) -> None:
        """Give up waiting files that are deleted and too large to keep."""
        now_ns = time.monotonic_ns()
        if now_ns - self._swept_ns < SECOND_NS:
            return
        self._swept_ns = now_ns
        for waiting in self._queue.take_deleted():
            os.close(waiting.fd)
            self._reply(refused(waiting.request, _KEEPS_SPACE))
        self._tell()

    def _settle(self, now_ns: int) -> None:
        while self._settling and self._settling[0][0] <= now_ns:
            _, fd, pending = self._settling.popleft()
            settle(fd, pending, self._reading)
            os.close(fd)

    def _mark(self) -> None:
        ticket = IDLE if self._current is None else self._current.request.ticket
        self._board.mark(READER, ticket, time.monotonic_ns())
