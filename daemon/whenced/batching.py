"""Rows into numbered, columnar batches of the wire, and when to close one.

Pure: clocks and the sink are given. May not touch files or sockets (spool.py, uplink.py do), and
never drops a row in silence: what the sink refuses becomes a loss row of the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

from whence_proto.v1 import ingest_pb2
from whenced.columns import fill
from whenced.rows import LossRow, Row

MAX_BATCH_ROWS = 20_000
# Below the 4 MiB that a gRPC receiver accepts by default, with room for the frame.
MAX_BATCH_BYTES = 3 << 20
MAX_MESSAGE_BYTES = (4 << 20) - 1024

FLUSH_ROWS = 1_000
# A batch costs the collector about 1 ms whatever its size, so a flood makes bigger ones.
FLOOD_GAP_NS = 200_000_000
URGENT_NS = 250_000_000
IDLE_NS = 5_000_000_000


class BatchBuilder:
    """Collects rows in the order of their arrival and packs them into batches.

    ``epoch`` names the numbering: a random 128-bit hexadecimal name, new at each daemon start.
    """

    def __init__(self, host: str, boot_id: str, epoch: str) -> None:
        self._host, self._boot_id, self._epoch = host, boot_id, epoch
        self._rows: list[Row] = []

    @property
    def rows(self) -> int:
        """Number of rows that wait."""
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Append one row of any table."""
        self._rows.append(row)

    def extend(self, rows: Iterable[Row]) -> None:
        """Append many rows of any tables."""
        self._rows.extend(rows)

    def add_first(self, rows: Sequence[Row]) -> None:
        """Put rows before all that wait, so that they travel in the next batch for certain."""
        self._rows[:0] = rows

    def close(self, number: int, base_ns: int, wall_offset_ns: int) -> ingest_pb2.Batch:
        """Pack the oldest rows, at most MAX_BATCH_ROWS and MAX_BATCH_BYTES; the others wait on.

        A single row above MAX_BATCH_BYTES is packed alone. ``base_ns`` is absolute boot time,
        best close to the rows' times. An empty builder gives an empty batch.
        """
        count = min(len(self._rows), MAX_BATCH_ROWS)
        batch = self._pack(count, base_ns)
        while count > 1 and batch.ByteSize() > MAX_BATCH_BYTES:
            count //= 2
            batch = self._pack(count, base_ns)
        del self._rows[:count]
        batch.number, batch.wall_offset_ns = number, wall_offset_ns
        return batch

    def _pack(self, count: int, base_ns: int) -> ingest_pb2.Batch:
        batch = ingest_pb2.Batch(
            host=self._host, boot_id=self._boot_id, epoch=self._epoch, base_ns=base_ns
        )
        fill(batch, islice(self._rows, count))
        return batch


class FlushPolicy:
    """When to close a batch; every time is a reading in ns of one monotonic clock.

    At FLUSH_ROWS rows (in a flood at most every FLOOD_GAP_NS, until a batch is full), URGENT_NS
    after a mark, else IDLE_NS after the first row.
    """

    def __init__(self) -> None:
        self._first_row_ns: int | None = None
        self._urgent_ns: int | None = None
        self._flushed_ns: int | None = None

    def mark_urgent(self, now_ns: int) -> None:
        """Somebody may ask soon: a process of interest ended or an output was hashed."""
        if self._urgent_ns is None:
            self._urgent_ns = now_ns

    def wait_ns(self, rows: int, now_ns: int) -> int | None:
        """How long the rows may still wait; 0 when due, None when there are none."""
        if rows == 0:
            return None
        if self._first_row_ns is None:
            self._first_row_ns = now_ns
        due_ns = self._first_row_ns + IDLE_NS
        if self._urgent_ns is not None:
            due_ns = min(due_ns, self._urgent_ns + URGENT_NS)
        if rows >= MAX_BATCH_ROWS:
            due_ns = now_ns
        elif rows >= FLUSH_ROWS:
            gap_end_ns = now_ns if self._flushed_ns is None else self._flushed_ns + FLOOD_GAP_NS
            due_ns = min(due_ns, gap_end_ns)
        return max(0, due_ns - now_ns)

    def flushed(self, now_ns: int) -> None:
        """Everything was handed over."""
        self._first_row_ns = self._urgent_ns = None
        self._flushed_ns = now_ns


Packed = tuple[int, bytes, int]  # number, payload, rows
Note = Callable[[tuple[Packed, ...]], None]


class Sink(Protocol):
    """Where closed batches go (spool.Spool)."""

    def has_room(self, size_bytes: int) -> bool:
        """Whether batches of so many bytes would be taken now."""

    def refuse(self, rows: int) -> None:
        """Count a batch that is not handed over."""

    def put(self, number: int, payload: bytes, rows: int) -> bool:
        """Take a batch; False when there is no room for it anywhere."""

    def unwritten(self) -> list[Packed]:
        """Batches that are in memory alone."""

    def take_lost(self) -> dict[str, int]:
        """Rows lost since the last call, by reason."""


class Outbox:
    """Numbers the batches of one epoch and hands them to the sink, with what was lost before."""

    def __init__(self, builder: BatchBuilder, sink: Sink, started_ns: int) -> None:
        self._builder, self._sink = builder, sink
        self._number = 1
        self._told_ns = started_ns
        self._kept = 0
        self._lost: dict[str, int] = {}

    def flush(self, now_ns: int, wall_offset_ns: int, note: Note | None = None) -> int:
        """Close and hand over all rows; gives the number of batches that were taken.

        ``now_ns`` is boot time. A refused batch leaves its number to the next one, so that the
        numbering has no gap. ``note`` is told of every batch before any is handed over.
        """
        self._add_lost(self._sink.take_lost())
        told = self._loss_rows(now_ns)
        self._builder.add_first(told)
        packed: list[Packed] = []
        size_bytes = 0
        while waiting := self._builder.rows:
            batch = self._builder.close(self._number, now_ns, wall_offset_ns)
            rows = waiting - self._builder.rows
            payload = batch.SerializeToString()
            if reason := self._refusal(payload, size_bytes):
                self._sink.refuse(rows)
                self._add_lost({reason: rows - len(told)})
            else:
                packed.append((self._number, payload, rows))
                size_bytes += len(payload)
                self._taken(rows - len(told), now_ns if told else None)
            told = []
        if note is not None:
            note(tuple(packed))
        for each in packed:
            self._sink.put(*each)
        return len(packed)

    @property
    def state(self) -> tuple[int, int, int, dict[str, int]]:
        """What go_on() wants."""
        return self._number, self._told_ns, self._kept, dict(self._lost)

    def go_on(self, state: tuple[int, int, int, dict[str, int]]) -> None:
        """Number on after batches of a process that is gone."""
        self._number, self._told_ns, self._kept, self._lost = state

    def unwritten(self) -> list[Packed]:
        """Batches that are nowhere but in this process."""
        return self._sink.unwritten()

    def _refusal(self, payload: bytes, before_bytes: int) -> str | None:
        if len(payload) > MAX_MESSAGE_BYTES:
            return f"a row of {len(payload):,} bytes is larger than a message may be"
        if not self._sink.has_room(before_bytes + len(payload)):
            return "the spool was full on disk and in memory"
        return None

    def _taken(self, rows: int, told_ns: int | None) -> None:
        self._number += 1
        if told_ns is not None:
            self._lost, self._kept, self._told_ns = {}, 0, told_ns
        self._kept += rows

    def _add_lost(self, lost: dict[str, int]) -> None:
        for reason, count in lost.items():
            if count:
                self._lost[reason] = self._lost.get(reason, 0) + count

    def _loss_rows(self, now_ns: int) -> list[LossRow]:
        """At most one row: what was lost since it was last told, with all reasons."""
        lost = sum(self._lost.values())
        if not lost:
            return []
        reason = "; ".join(sorted(self._lost))
        attempted = self._kept + lost
        return [LossRow("row", attempted, self._kept, lost, reason, self._told_ns, now_ns)]
