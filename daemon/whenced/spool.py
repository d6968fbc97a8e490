"""Numbered batches, kept until the collector has committed them.

A batch waits in memory for a moment, then goes to disk; when the disk takes nothing it stays in
memory, and when that is full too it is refused. May not send (uplink.py does) and never makes the
capture loop wait for a disk: a thread of its own writes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from whenced import spool_file

log = logging.getLogger(__name__)

# Three days of a busy host, or the state of a week's outage of a quiet one.
LIMIT_BYTES = 2 << 30
# What capture makes in some minutes: enough to see a full disk emptied.
MEMORY_LIMIT_BYTES = 64 << 20
# A collector on the same host commits within 0.1 s. What it has by then is never written here:
# an fdatasync forces the journal, which the observed programs would feel.
LINGER_S = 0.25
RETRY_S = 1.0
# Evidence for a person; the oldest goes first.
DAMAGED_KEPT = 16
_LEFT = "what a daemon that died had made had no room in the spool"


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch that waits: ``position`` is its place in the order of delivery."""

    position: int
    epoch: str
    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """State at one moment; ``storage_error`` says why the disk takes nothing, None when it does."""

    batches: int
    memory_bytes: int
    disk_bytes: int
    damaged_batches: int
    refused_batches: int
    lost_rows: int
    storage_error: str | None


@dataclass(slots=True)
class _Kept:
    """An entry with where it is; ``payload`` is empty once it is on disk."""

    entry: Entry
    payload: bytes
    rows: int  # 0 for a file that was not read yet
    put_at_s: float
    on_disk: bool


class Spool:
    """Batches of this and earlier epochs under ``directory``, which must exist.

    Thread-safe. ``changed`` is notified when a batch comes or goes. Raises OSError when the
    directory cannot be read at the start; never afterwards.
    """

    def __init__(
        self,
        directory: Path,
        epoch: str,
        limit_bytes: int = LIMIT_BYTES,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        linger_s: float = LINGER_S,
    ) -> None:
        self.changed = threading.Condition()
        self._directory, self._epoch = directory, epoch
        self._limit_bytes, self._memory_limit_bytes = limit_bytes, memory_limit_bytes
        self._linger_s = linger_s
        self._kept: dict[int, _Kept] = {}
        self._unwritten: dict[int, _Kept] = {}
        self._first = self._end = 0  # positions are within [first, end)
        self._memory_bytes = self._disk_bytes = 0
        self._damaged = self._refused = self._lost_rows = 0
        self._lost: dict[str, int] = {}
        self._storage_error: str | None = None
        self._retry_at_s = 0.0
        self._closing = False
        self._find_old()
        self._writer = threading.Thread(target=self._write_loop, name="spool", daemon=True)
        self._writer.start()

    # What the capture loop calls.

    def has_room(self, size_bytes: int) -> bool:
        """Whether put() would take so many bytes now: only put() makes it less."""
        with self.changed:
            return self._memory_bytes + size_bytes <= self._memory_limit_bytes

    def refuse(self, rows: int) -> None:
        """Count a batch for which there was no room."""
        with self.changed:
            self._refused += 1
            self._lost_rows += rows

    def unwritten(self) -> list[tuple[int, bytes, int]]:
        """Batches of this epoch that are in memory alone: (number, payload, rows)."""
        with self.changed:
            return [(k.entry.number, k.payload, k.rows) for k in self._unwritten.values()]

    def go_on(self, batches: Iterable[tuple[int, bytes, int]]) -> None:
        """Keep what a process that is gone had made of this epoch and not written here.

        What is on disk is older than what was not written; what was acked is sent again, and the
        collector knows it.
        """
        with self.changed:
            mine = [k.entry.number for k in self._kept.values() if k.entry.epoch == self._epoch]
        newest = max(mine, default=0)
        for number, payload, rows in batches:
            if number > newest and not self.put(number, payload, rows):
                self._lost[_LEFT] = self._lost.get(_LEFT, 0) + rows

    def put(self, number: int, payload: bytes, rows: int) -> bool:
        """Keep a batch of this epoch; False when there is no room for it on disk or in memory."""
        with self.changed:
            if self._memory_bytes + len(payload) > self._memory_limit_bytes:
                self._refused += 1
                self._lost_rows += rows
                return False
            kept = self._append(self._epoch, number, len(payload), on_disk=False)
            kept.payload, kept.rows = payload, rows
            self._unwritten[kept.entry.position] = kept
            self._memory_bytes += len(payload)
            self.changed.notify_all()
            return True

    def take_lost(self) -> dict[str, int]:
        """Rows of kept batches that were lost since the last call, by reason."""
        with self.changed:
            lost, self._lost = self._lost, {}
            return lost

    def stats(self) -> SpoolStats:
        """State now."""
        with self.changed:
            return SpoolStats(
                batches=len(self._kept),
                memory_bytes=self._memory_bytes,
                disk_bytes=self._disk_bytes,
                damaged_batches=self._damaged,
                refused_batches=self._refused,
                lost_rows=self._lost_rows,
                storage_error=self._storage_error,
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is in memory, at most ``timeout_s`` long, and stop; tells what was not."""
        with self.changed:
            self._closing = True
            self.changed.notify_all()
        self._writer.join(timeout_s)
        with self.changed:
            rows = sum(kept.rows for kept in self._unwritten.values())
        if rows:
            log.error("%d rows were lost at the end: %s", rows, self._storage_error)

    # What the uplink calls.

    def next_entry(self, after: int) -> Entry | None:
        """Oldest batch behind a position (-1: from the start), None when there is none yet."""
        with self.changed:
            for position in range(max(after + 1, self._first), self._end):
                if kept := self._kept.get(position):
                    return kept.entry
            return None

    def read(self, entry: Entry) -> bytes | None:
        """Payload of a batch; None when it is gone or damaged (then it is moved aside)."""
        with self.changed:
            kept = self._kept.get(entry.position)
            if kept is None or not kept.on_disk:
                return kept.payload if kept else None
        try:
            payload, kept.rows = spool_file.read(self._path(entry))
        except spool_file.DamagedBatch as damage:
            self.set_aside(entry, "a batch was damaged on disk", str(damage))
        except OSError as error:
            self.set_aside(entry, "a batch could not be read from disk", str(error))
        else:
            return payload
        return None

    def acked(self, epoch: str, number: int) -> None:
        """Delete all batches of the epoch up to and including the number."""
        with self.changed:
            gone = []
            for position in range(self._first, self._end):
                kept = self._kept.get(position)
                if kept is None or kept.entry.epoch != epoch:
                    continue
                if kept.entry.number > number:
                    break
                gone.append(kept)
            self._forget(gone)
        self._delete([kept.entry for kept in gone if kept.on_disk])

    def set_aside(self, entry: Entry, reason: str, detail: str) -> None:
        """Take a batch out of the order of delivery, keep it in damaged/, count its rows as lost.

        ``reason`` goes into the loss row, ``detail`` into the log.
        """
        with self.changed:
            kept = self._kept.get(entry.position)
            if kept is None:
                return
            self._forget([kept])
            # The row count is inside the file: of a damaged one at least one row is lost.
            rows = max(kept.rows, 1)
            self._damaged += 1
            self._lost_rows += rows
            self._lost[reason] = self._lost.get(reason, 0) + rows
        log.warning("batch %s-%d set aside: %s", entry.epoch, entry.number, detail)
        self._move_aside(kept)

    # The index. Callers hold the lock.

    def _append(self, epoch: str, number: int, size_bytes: int, *, on_disk: bool) -> _Kept:
        entry = Entry(self._end, epoch, number, size_bytes)
        kept = self._kept[entry.position] = _Kept(entry, b"", 0, time.monotonic(), on_disk)
        self._end += 1
        return kept

    def _forget(self, gone: Iterable[_Kept]) -> None:
        for kept in gone:
            del self._kept[kept.entry.position]
            if kept.on_disk:
                self._disk_bytes -= spool_file.disk_bytes(kept.entry.size_bytes)
            else:
                del self._unwritten[kept.entry.position]
                self._memory_bytes -= kept.entry.size_bytes
        while self._first < self._end and self._first not in self._kept:
            self._first += 1
        self.changed.notify_all()

    # Files. Callers do not hold the lock.

    def _path(self, entry: Entry) -> Path:
        return self._directory / spool_file.name_of(entry.epoch, entry.number)

    def _find_old(self) -> None:
        for stored in spool_file.scan(self._directory):
            size_bytes = spool_file.payload_bytes(stored.size_bytes)
            self._append(stored.epoch, stored.number, size_bytes, on_disk=True)
            self._disk_bytes += spool_file.disk_bytes(size_bytes)

    def _delete(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            try:
                self._path(entry).unlink(missing_ok=True)
            except OSError as error:
                # It will be offered again at the next start, and acked again.
                log.warning("cannot delete %s: %s", self._path(entry), error)

    def _move_aside(self, kept: _Kept) -> None:
        entry, damaged = kept.entry, self._directory / "damaged"
        try:
            damaged.mkdir(exist_ok=True, mode=0o700)
            if kept.on_disk:
                self._path(entry).replace(damaged / self._path(entry).name)
            else:
                spool_file.write(damaged, entry.epoch, entry.number, kept.payload, kept.rows)
            for old in sorted(damaged.iterdir(), key=lambda p: p.stat().st_mtime)[:-DAMAGED_KEPT]:
                old.unlink()
        except OSError as error:
            log.warning("cannot keep %s in %s: %s", self._path(entry).name, damaged, error)

    # The writer.

    def _write_loop(self) -> None:
        while due := self._next_due():
            closing = self._closing
            self._write(due)
            if closing:
                return

    def _next_due(self) -> list[_Kept]:
        """Batches to write now; waits for some, and gives none when all is over."""
        with self.changed:
            while not self._closing:
                now_s = time.monotonic()
                oldest = next(iter(self._unwritten.values()), None)
                if oldest is None:
                    self.changed.wait()
                    continue
                wait_s = max(oldest.put_at_s + self._linger_s, self._retry_at_s) - now_s
                if wait_s <= 0:
                    break
                self.changed.wait(wait_s)
            return list(self._unwritten.values())

    def _write(self, due: list[_Kept]) -> None:
        written: list[_Kept] = []
        problem = None
        room_bytes = self._room_bytes()
        try:
            for kept in due:
                entry = kept.entry
                room_bytes -= spool_file.disk_bytes(entry.size_bytes)
                if room_bytes < 0:
                    problem = f"{self._directory} is at its limit of {self._limit_bytes:,} bytes"
                    break
                spool_file.write(
                    self._directory, entry.epoch, entry.number, kept.payload, kept.rows
                )
                written.append(kept)
            spool_file.sync_directory(self._directory)
        except OSError as error:
            problem = f"{self._directory} takes no batches: {error.strerror}"
        self._delete(self._note_written(written, problem))

    def _room_bytes(self) -> int:
        with self.changed:
            return self._limit_bytes - self._disk_bytes

    def _note_written(self, written: Iterable[_Kept], problem: str | None) -> list[Entry]:
        """Account for what is on disk now; gives what was acked while it was written."""
        gone = []
        with self.changed:
            for kept in written:
                if self._unwritten.pop(kept.entry.position, None) is None:
                    gone.append(kept.entry)
                    continue
                kept.on_disk, kept.payload = True, b""
                self._memory_bytes -= kept.entry.size_bytes
                self._disk_bytes += spool_file.disk_bytes(kept.entry.size_bytes)
            if problem and problem != self._storage_error:
                log.warning("%s; batches wait in memory until there is room", problem)
            self._storage_error = problem
            self._retry_at_s = time.monotonic() + RETRY_S if problem else 0.0
        return gone
