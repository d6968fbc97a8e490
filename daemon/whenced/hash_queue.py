"""Files that wait to be read, with the descriptors that keep their bytes from being lost.

Holds and orders; opens nothing and reads nothing. All of it may be used by several threads.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from whenced.hash_messages import ANY, HashRequest

NO_FD: Final = -1
#: Descriptors held at most, queue and shelf together.
BUDGET: Final = 16_384
#: Bytes of deleted files that waiting descriptors may keep on the disk.
DELETED_LIMIT_BYTES: Final = 1 << 30
#: How long a descriptor stays on the shelf for a request that may still come.
SHELF_NS: Final = 60_000_000_000

#: A file waits as if it had come later by this much per byte, about eight times the time that
#: reading it takes: small files first, and no stream of small ones starves a large one.
_DELAY_NS_PER_BYTE: Final = 8
_LARGE_BYTES: Final = 16 << 20

Identity: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """A request and the descriptor held for it (NO_FD: the budget was used up)."""

    request: HashRequest
    fd: int
    size_bytes: int
    arrived_ns: int

    @property
    def due_ns(self) -> int:
        """Order of work: the least first."""
        return self.arrived_ns + self.size_bytes * _DELAY_NS_PER_BYTE


class JobQueue:
    """Jobs in order of work."""

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[int, int, Job]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._held = 0

    def put(self, job: Job) -> None:
        """Add a job, whose descriptor passes to whoever takes it."""
        with self._changed:
            heapq.heappush(self._heap, (job.due_ns, next(self._numbers), job))
            self._held += job.fd != NO_FD
            self._changed.notify()

    def take(self, wait_s: float) -> Job | None:
        """Return the next job; None when none came within `wait_s`."""
        with self._changed:
            if not self._heap:
                self._changed.wait(wait_s)
            return self._pop() if self._heap else None

    def take_smaller(self, limit_bytes: int) -> Job | None:
        """Return the next job if it is no larger than `limit_bytes`; never waits."""
        with self._changed:
            small = bool(self._heap) and self._heap[0][2].size_bytes <= limit_bytes
            return self._pop() if small else None

    def take_deleted(self, limit_bytes: int = DELETED_LIMIT_BYTES) -> list[Job]:
        """Take out the largest jobs whose files are deleted until the rest keep within limit.

        Deleting a checkpoint is meant to free its space: a descriptor that waits must not
        fill the disk.
        """
        with self._changed:
            deleted = sorted(self._deleted(), key=lambda pair: pair[0])
            kept_bytes = 0
            dropped = set()
            for allocated_bytes, entry in deleted:
                kept_bytes += allocated_bytes
                if kept_bytes > limit_bytes:
                    dropped.add(entry)
            if dropped:
                self._heap = [entry for entry in self._heap if entry not in dropped]
                heapq.heapify(self._heap)
                self._held -= len(dropped)
        return [job for _, _, job in dropped]

    @property
    def held(self) -> int:
        """Number of descriptors that wait here."""
        return self._held

    def _pop(self) -> Job:
        job = heapq.heappop(self._heap)[2]
        self._held -= job.fd != NO_FD
        return job

    def _deleted(self) -> Iterator[tuple[int, tuple[int, int, Job]]]:
        for entry in self._heap:
            job = entry[2]
            if job.size_bytes < _LARGE_BYTES or job.fd == NO_FD:
                continue
            with contextlib.suppress(OSError):  # a stale handle keeps no space here
                st = os.fstat(job.fd)
                if st.st_nlink == 0:
                    yield st.st_blocks * 512, entry


class Shelf:
    """Descriptors kept for a request that is still to come: one per file, oldest dropped."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[Identity, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, request: HashRequest, fd: int, now_ns: int) -> None:
        """Keep `fd`; it is closed by and by unless `take` gets it first."""
        key = (request.device, request.inode, request.generation)
        if ANY in key:
            os.close(fd)
            return
        with self._lock:
            old, _ = self._kept.pop(key, (NO_FD, 0))
            self._kept[key] = (fd, now_ns)
        if old != NO_FD:
            os.close(old)

    def take(self, request: HashRequest) -> int:
        """Return the descriptor kept for the file of `request`, NO_FD when there is none."""
        key = (request.device, request.inode, request.generation)
        with self._lock:
            return self._kept.pop(key, (NO_FD, 0))[0]

    def expire(self, now_ns: int, room: int) -> None:
        """Close what is older than SHELF_NS, and the oldest beyond `room` descriptors."""
        with self._lock:
            while self._kept:
                key, (fd, kept_ns) = next(iter(self._kept.items()))
                if len(self._kept) <= room and now_ns - kept_ns < SHELF_NS:
                    return
                del self._kept[key]
                os.close(fd)

    def __len__(self) -> int:
        return len(self._kept)
