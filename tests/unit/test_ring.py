"""Rings over memory that is laid out as kernel/bpf/ringbuf.c does it: two pages, data twice."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from whenced.record import RECORD, TEXT_HEAD
from whenced.ring import HotRing, Ring, TextRing

SIZE = 2 * mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30
SLOT = 8 + RECORD.itemsize


class Producer:
    """The kernel's side of a ring."""

    def __init__(self, start: int = 0) -> None:
        self.fd = os.memfd_create("ring")
        os.truncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.position = start
        os.pwrite(self.fd, struct.pack("<Q", start), 0)
        os.pwrite(self.fd, struct.pack("<Q", start), mmap.PAGESIZE)

    def put(self, payload: bytes, flags: int = 0) -> int:
        """Append one record, return its position."""
        at = self.position
        raw = struct.pack("<II", len(payload) | flags, 0) + payload
        place = at % SIZE
        room = SIZE - place
        for part, where in ((raw, place), (raw[:room], SIZE + place), (raw[room:], 0)):
            os.pwrite(self.fd, part, 2 * mmap.PAGESIZE + where)
        self.position = at + (len(raw) + 7) // 8 * 8
        os.pwrite(self.fd, struct.pack("<Q", self.position), mmap.PAGESIZE)
        return at

    def submit(self, at: int, length: int) -> None:
        """Finish a record that was busy."""
        for half in (at % SIZE, SIZE + at % SIZE):
            os.pwrite(self.fd, struct.pack("<I", length), 2 * mmap.PAGESIZE + half)

    def consumed(self) -> int:
        """Return the reader's position."""
        found: tuple[int] = struct.unpack("<Q", os.pread(self.fd, 8, 0))
        return found[0]


def record(sequence: int) -> bytes:
    row = np.zeros(1, dtype=RECORD)
    row["sequence"] = sequence
    return row.tobytes()


def text(text_id: int, raw: bytes, part: int = 1) -> bytes:
    head = np.zeros(1, dtype=TEXT_HEAD)
    head["id"], head["part"], head["length"], head["flags"], head["chunk"] = (
        text_id,
        part,
        len(raw),
        128,
        2,
    )
    return head.tobytes() + raw


@pytest.fixture(params=[0, SIZE - 16, 7 * SIZE - 8])
def producer(request: pytest.FixtureRequest) -> Iterator[Producer]:
    """Give rings that begin at their start and just before their end."""
    made = Producer(request.param)
    yield made
    os.close(made.fd)


def sequences(ring: HotRing) -> list[int]:
    found: list[int] = ring.drain()["sequence"].tolist()
    return found


def test_an_empty_ring_gives_nothing(producer: Producer) -> None:
    with HotRing(producer.fd, SIZE) as hot, TextRing(producer.fd, SIZE) as texts:
        assert (hot.drain().size, list(texts.drain()), hot.backlog_bytes) == (0, [], 0)


def test_records_come_oldest_first_and_once(producer: Producer) -> None:
    with HotRing(producer.fd, SIZE) as ring:
        for sequence in (1, 2, 3):
            producer.put(record(sequence))
        backlog_bytes = ring.backlog_bytes
        drained = sequences(ring), sequences(ring)

        assert (backlog_bytes, drained) == (3 * SLOT, ([1, 2, 3], []))
        ring.release()
        assert producer.consumed() == producer.position


def test_a_record_that_is_being_written_ends_the_drain(producer: Producer) -> None:
    with HotRing(producer.fd, SIZE) as ring:
        producer.put(record(1))
        unfinished = producer.put(record(2), BUSY)
        producer.put(record(3))
        before = sequences(ring)
        producer.submit(unfinished, RECORD.itemsize)

        assert (before, sequences(ring)) == ([1], [2, 3])


def test_rows_outlive_the_ring(producer: Producer) -> None:
    with HotRing(producer.fd, SIZE) as ring:
        producer.put(record(1))
        rows = ring.drain()
        producer.put(record(2))
        producer.put(record(3))

    assert rows["sequence"].tolist() == [1]


def test_a_ring_may_be_read_for_ever(producer: Producer) -> None:
    with HotRing(producer.fd, SIZE) as ring:
        found = []
        for sequence in range(2 * SIZE // SLOT):
            producer.put(record(sequence))
            found += sequences(ring)

        assert found == list(range(2 * SIZE // SLOT))


def test_texts_have_any_length(producer: Producer) -> None:
    with TextRing(producer.fd, SIZE) as ring:
        producer.put(text(7, b"model.pt\0out\0"))
        producer.put(text(8, b""))
        producer.put(text(9, b"x" * 1000, part=2))

        assert list(ring.drain()) == [
            (7, 1, 128, 2, b"model.pt\0out\0"),
            (8, 1, 128, 2, b""),
            (9, 2, 128, 2, b"x" * 1000),
        ]
        assert list(ring.drain()) == []


def test_bytes_behind_a_text_are_not_part_of_it(producer: Producer) -> None:
    with TextRing(producer.fd, SIZE) as ring:
        producer.put(text(7, b"abc") + b"left over")
        producer.put(text(8, b"def"))

        assert [(found[0], found[4]) for found in ring.drain()] == [(7, b"abc"), (8, b"def")]


def test_discarded_texts_are_passed_over(producer: Producer) -> None:
    with TextRing(producer.fd, SIZE) as ring:
        producer.put(text(7, b"gone"), DISCARDED)
        producer.put(text(8, b"kept"))

        assert [found[0] for found in ring.drain()] == [8]
        ring.release()
        assert producer.consumed() == producer.position


def test_a_text_that_is_being_written_ends_the_drain(producer: Producer) -> None:
    with TextRing(producer.fd, SIZE) as ring:
        producer.put(text(7, b"done"))
        unfinished = producer.put(text(8, b"busy"), BUSY)
        before = [found[0] for found in ring.drain()]
        producer.submit(unfinished, TEXT_HEAD.itemsize + 4)

        assert (before, [found[0] for found in ring.drain()]) == ([7], [8])


def test_a_closed_ring_is_mapped_no_more(producer: Producer) -> None:
    mapped = []
    with Ring(producer.fd, SIZE):
        mapped.append("memfd:ring" in Path("/proc/self/maps").read_text())
    mapped.append("memfd:ring" in Path("/proc/self/maps").read_text())

    assert mapped == [True, False]
