"""Shared writable mappings: what they may have written, until when, and who read meanwhile."""

from __future__ import annotations

import pytest
from tests.unit.daemon_samples import EPOCH, NOW_NS, ONE, OTHER_FILE, Daemon, on, version

from whence_proto.v1 import ingest_pb2 as wire
from whenced.record import Flag, Kind
from whenced.rows import AccessRow, DigestRow

MAY_WRITE = int(Flag.MAY_WRITE)
MAPPED = int(Flag.MAPPED)


@pytest.fixture
def daemon() -> Daemon:
    """Somebody mapped /out/model shared and writable."""
    daemon = Daemon()
    daemon.touch(Kind.MAP, b"/out/model", 0)
    daemon.hashed(b"9876543210", 0)
    daemon.touch(Kind.WRITE, b"/out/model", ONE, flags=MAY_WRITE)
    return daemon


def writes(daemon: Daemon) -> list[AccessRow]:
    return [row for row in daemon.rows(AccessRow) if row.op == wire.ACCESS_OP_WRITE]


def test_a_mapping_alone_may_have_written(daemon: Daemon) -> None:
    (row,) = writes(daemon)

    assert row.flags == wire.ACCESS_FLAG_MAY_WRITE


def test_a_store_that_was_seen_is_proof(daemon: Daemon) -> None:
    daemon.see(Kind.WRITE, version=ONE + 1, flags=MAPPED)
    (row,) = writes(daemon)

    assert (row.flags, row.path) == (wire.ACCESS_FLAG_NONE, "/out/model")


def test_a_store_to_a_file_that_nobody_mapped_by_name_is_no_row(daemon: Daemon) -> None:
    """The layer below an overlay: the mapping's own row says it."""
    daemon.see(Kind.WRITE, version=ONE, flags=MAPPED, **on(OTHER_FILE))

    assert {row.file[:3] for row in writes(daemon)} == {version(1)[:3]}


@pytest.mark.parametrize("kind", [Kind.UNMAP, Kind.EXIT])
def test_a_mapping_counts_until_it_ends(daemon: Daemon, kind: int) -> None:
    daemon.see(kind, version=ONE + 1, at_ns=NOW_NS + 5)
    (row,) = writes(daemon)

    assert (row.first_ns, row.last_ns) == (NOW_NS, NOW_NS + 5)
    assert row.flags == wire.ACCESS_FLAG_MAY_WRITE


def test_who_read_before_the_mapping_ended_is_told_a_torn_version(daemon: Daemon) -> None:
    daemon.touch(Kind.READ, b"/out/model", ONE, tgid=202)
    daemon.see(Kind.UNMAP, version=ONE + 1)
    daemon.touch(Kind.READ, b"/out/model", ONE + 1, tgid=203)
    daemon.hashed(b"0123456789", ONE + 1)
    rows = daemon.observer.take_rows()
    files = {
        row.process.tgid: row.file
        for row in rows
        if isinstance(row, AccessRow) and row.op == wire.ACCESS_OP_READ
    }
    states = {row.file: row.state for row in rows if isinstance(row, DigestRow)}

    assert states[files[202]] == wire.DIGEST_STATE_TORN
    assert states[files[203]] == wire.DIGEST_STATE_VERIFIED


def test_who_read_while_a_program_died_with_its_mapping_is_told_a_torn_version(
    daemon: Daemon,
) -> None:
    daemon.touch(Kind.READ, b"/out/model", ONE, tgid=202)
    daemon.see(Kind.EXIT)
    daemon.hashed(b"0123456789", ONE)
    rows = daemon.observer.take_rows()
    (read,) = [row for row in rows if isinstance(row, AccessRow) and row.op == wire.ACCESS_OP_READ]
    states = {row.file: row.state for row in rows if isinstance(row, DigestRow)}

    assert states[read.file] == wire.DIGEST_STATE_TORN


def test_a_read_of_another_size_than_the_digest_did_not_see_its_content() -> None:
    """A call that cuts a file counts up only as it ends: the reader was quicker."""
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/model", EPOCH)
    daemon.hashed(b"0123456789", EPOCH)
    daemon.touch(Kind.WRITE, b"/out/model", 2 * EPOCH)
    daemon.rows(AccessRow)
    daemon.touch(Kind.READ, b"/out/model", EPOCH, tgid=202, size_bytes=0)
    daemon.hashed(b"9876543210", 2 * EPOCH)
    (row,) = [row for row in daemon.rows(AccessRow) if row.process.tgid == 202]

    assert row.file not in (version(1), version(2))
