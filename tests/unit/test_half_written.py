"""Readers that saw a file half-written depend on its writers: batches into a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.collector_batches import BatchMaker

from whence_collector.check import check
from whence_collector.derive import Deriver
from whence_collector.recorder import Recorder, Submission
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITER, READER = 100, 101
SEALED = 5 << 16
HALF = SEALED | 0x8000 | 3
INODE = 7


class Collector:
    """A recorder with a real deriver over a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(Deriver, lambda: 0)

    def take(self, *makers: BatchMaker) -> None:
        """Store batches in one transaction."""
        submissions = [Submission(check(maker.batch), 1) for maker in makers]
        self.store.write(lambda writer: self.recorder.record(submissions, writer)).result()
        self.recorder.committed()

    def edges(self) -> list[tuple[str, str, str]]:
        """Return (command, command it depends on, strength)."""
        with self.store.cursor() as reader:
            return reader.rows(
                "SELECT c.command, p.command, d.strength FROM run_dependencies d "
                "JOIN run c ON c.run_id = d.child_run_id JOIN run p ON p.run_id = d.parent_run_id"
            )


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    store = Store(tmp_path / "whence.duckdb")
    try:
        yield Collector(store)
    finally:
        store.close()


def written(number: int, version: int = SEALED, epoch: str = "e1") -> BatchMaker:
    maker = BatchMaker(number, epoch)
    writer = maker.process(WRITER)
    maker.start(writer, exe="/usr/bin/writer", arguments=("writer",), command_name="writer")
    return maker.access(writer, maker.file(INODE, version), "/d/log", wire.ACCESS_OP_WRITE)


def read(number: int, version: int = HALF) -> BatchMaker:
    maker = BatchMaker(number)
    reader = maker.process(READER)
    maker.start(reader, exe="/usr/bin/reader", arguments=("reader",), command_name="reader")
    return maker.access(reader, maker.file(INODE, version), "/d/log", at_ns=5)


TORN = [("reader", "writer", "same-file-torn")]


def test_reader_of_a_half_written_version_depends_on_its_writer(collector: Collector) -> None:
    collector.take(written(1), read(2))

    assert collector.edges() == TORN


def test_writer_that_is_told_of_later_counts(collector: Collector) -> None:
    collector.take(read(1))
    before = collector.edges()
    collector.take(written(2))

    assert (before, collector.edges()) == ([], TORN)


def test_version_that_is_read_again_half_written_later_counts(collector: Collector) -> None:
    collector.take(written(1))
    collector.take(read(2))

    assert collector.edges() == TORN


@pytest.mark.parametrize("version", [4 << 16, 6 << 16, HALF])
def test_another_epoch_and_another_half_are_no_origin(collector: Collector, version: int) -> None:
    reading = HALF if version != HALF else HALF + 1
    collector.take(written(1, version), read(2, reading))

    assert collector.edges() == []


def test_same_numbers_of_another_capture_are_no_origin(collector: Collector) -> None:
    collector.take(written(1, epoch="e2"), read(1))

    assert collector.edges() == []


def test_bound_of_the_edge_is_the_read(collector: Collector) -> None:
    collector.take(written(1), read(2))
    with collector.store.cursor() as reader:
        rows = reader.rows("SELECT written_ns <= read_ns FROM run_dependency")

    assert rows == [(True,)]
