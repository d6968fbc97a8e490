"""Which content each access belongs to: versions, old files, epochs. Rules: the spine."""

from __future__ import annotations

import pytest
from tests.unit.daemon_samples import (
    EPOCH,
    FILE,
    MS,
    NOW_NS,
    ONE,
    READER,
    SECOND_NS,
    START_S,
    WRITER,
    Files,
    event,
    rows_of,
    version,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.file_state import FileState
from whenced.hash_messages import ANY
from whenced.record import Flag, Kind
from whenced.rows import AccessRow

READ = wire.ACCESS_OP_READ
WRITE = wire.ACCESS_OP_WRITE
MAP = wire.ACCESS_OP_MAP
EXECUTE = wire.ACCESS_OP_EXECUTE
TRUNCATE = wire.ACCESS_OP_TRUNCATE
OVERWRITTEN = "overwritten before its bytes could be read"


# --- numbers --------------------------------------------------------------------------------------


def test_every_write_of_an_epoch_is_the_same_version() -> None:
    state = FileState(FILE, START_S, b"/f")

    assert {state.version(number) for number in (EPOCH, ONE, EPOCH + 7)} == {version(1)}


def test_versions_grow_with_the_epoch_and_with_the_daemon() -> None:
    first, second = FileState(FILE, 10, b"/f"), FileState(FILE, 11, b"/f")
    numbers = [
        state.version(epoch * EPOCH).version for state in (first, second) for epoch in (0, 1, 9)
    ]

    assert numbers == sorted(set(numbers))
    assert second.version(0).version > first.version((1 << 21) * EPOCH).version


def test_a_half_written_version_is_none_of_the_sealed_ones() -> None:
    state = FileState(FILE, START_S, b"/f")
    torn = {state.torn_version(EPOCH + writes) for writes in range(100)}

    assert len(torn) == 100
    assert version(1) not in torn


def test_the_largest_version_fits_the_wire() -> None:
    state = FileState(FILE, (1 << 26) - 1, b"/f", unseen=1 << 20)

    assert state.version((1 << 64) - 1).version < 1 << 64
    assert state.torn_version((1 << 64) - 1).version < 1 << 64


# --- files from before capture --------------------------------------------------------------------


def test_a_read_of_an_old_file_asks_for_exactly_version_0() -> None:
    files = Files()
    bound = files.read(0, fd=5, magic=0xEF53)

    request = files.request()

    assert bound == version(0)
    assert (request.version, request.path, request.written) == (0, b"/data/f", False)
    assert (request.device, request.inode, request.generation) == FILE
    assert (request.pid, request.fd, request.magic) == (READER.tgid, 5, 0xEF53)


def test_its_digest_is_that_of_the_version_that_was_read() -> None:
    files = Files()
    files.read(0)
    files.reply(files.request(), content=b"data", version=0)

    assert files.bound() == [version(0)]
    assert files.contents() == {version(0): b"data"}


def test_a_second_reader_needs_no_second_digest() -> None:
    files = Files()
    files.read(0)
    files.reply(files.request(), content=b"data", version=0)
    files.read(0, WRITER)

    assert files.requests(NOW_NS + SECOND_NS) == []
    assert files.bound() == [version(0)] * 2


def test_a_file_that_was_overwritten_first_has_no_digest_for_its_reader() -> None:
    files = Files()
    files.read(0)
    asked = files.request()
    files.write(ONE)
    files.reply(asked, "torn", reason=f"{OVERWRITTEN} (version 0 seen)", version=ANY)

    assert files.bound() == [version(0)]
    assert files.refusals() == {version(0): f"{OVERWRITTEN} (version 0 seen)"}


def test_a_file_that_is_overwritten_while_its_hash_waits_is_told_too() -> None:
    """A writer had it open, so the job was put off; then the writer wrote."""
    files = Files()
    files.read(0)
    files.reply(files.request(), "busy")
    files.write(ONE)

    assert files.refusals() == {version(0): OVERWRITTEN}


@pytest.mark.parametrize(
    ("kind", "op", "ops"),
    [(Kind.READ, READ, 0), (Kind.MAP, MAP, 1), (Kind.EXECUTE, EXECUTE, 1)],
)
def test_kinds_of_reading(kind: Kind, op: int, ops: int) -> None:
    """Calls of read are counted by the aggregate, the other two are one each."""
    files = Files()
    files.touch(kind)

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.op, row.ops, row.path, row.first_ns, row.last_ns) == (
        (op, ops, "/data/f", NOW_NS, NOW_NS)
    )


def test_a_descriptor_from_before_the_start_is_a_read_of_the_snapshot() -> None:
    files = Files()
    files.versions.on_seen(event(Kind.FILE_SEEN), READER, b"/data/f")

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.op, row.flags, row.file) == (READ, wire.ACCESS_FLAG_SNAPSHOT, version(0))
    assert files.request().version == 0


def test_a_writable_descriptor_from_before_the_start_has_not_written_yet() -> None:
    files = Files()
    files.versions.on_seen(event(Kind.FILE_SEEN, flags=Flag.WRITABLE), READER, b"/data/f")

    assert files.bound(READ) + files.bound(WRITE) == []
    assert files.requests(NOW_NS + SECOND_NS) == []


# --- epochs ---------------------------------------------------------------------------------------


def test_three_epochs_of_one_path_are_three_contents() -> None:
    files = Files()
    for epoch in (1, 2, 3):
        files.write(epoch * EPOCH, at_ns=NOW_NS + epoch * SECOND_NS)
        files.close(epoch * EPOCH + 9, at_ns=NOW_NS + epoch * SECOND_NS)
        request = files.request(NOW_NS + epoch * SECOND_NS + 500 * MS)
        files.reply(request, content=b"model %d" % epoch, version=epoch * EPOCH + 9)

    assert files.bound(WRITE) == [version(1), version(2), version(3)]
    assert files.contents() == {version(n): b"model %d" % n for n in (1, 2, 3)}


def test_outputs_are_asked_for_as_such() -> None:
    files = Files()
    files.write(ONE)

    request = files.request(NOW_NS + SECOND_NS)

    assert (request.version, request.written) == (ANY, True)


def test_an_epoch_that_is_overwritten_before_it_was_hashed_is_torn() -> None:
    files = Files()
    files.write(ONE)
    files.write(2 * EPOCH)

    assert files.refusals() == {version(1): OVERWRITTEN}


def test_unless_the_job_in_flight_still_found_it() -> None:
    files = Files()
    files.write(ONE)
    asked = files.request(NOW_NS + SECOND_NS)
    files.write(2 * EPOCH)
    files.reply(asked, content=b"first", version=ONE)

    assert files.contents() == {version(1): b"first"}
    assert files.refusals() == {}
    assert len(files.requests(NOW_NS + SECOND_NS)) == 1


def test_a_hasher_that_is_ahead_of_the_ring_answers_for_the_epoch_that_it_found() -> None:
    files = Files()
    files.write(ONE)
    files.reply(files.request(NOW_NS + SECOND_NS), content=b"second", version=2 * EPOCH)
    late = files.write(2 * EPOCH)

    assert files.refusals() == {version(1): OVERWRITTEN}
    assert files.contents() == {late: b"second"}


def test_an_epoch_that_is_heard_of_too_late_is_torn() -> None:
    files = Files()
    files.write(ONE)
    files.reply(files.request(NOW_NS + SECOND_NS), content=b"third", version=3 * EPOCH)
    late = files.write(2 * EPOCH)

    assert files.refusals() == {version(1): OVERWRITTEN, late: OVERWRITTEN}


@pytest.mark.parametrize(
    ("flags", "op", "row_flags"),
    [
        (Flag.CREATED | Flag.TRUNCATED, WRITE, wire.ACCESS_FLAG_CREATED),
        (Flag.CREATED, WRITE, wire.ACCESS_FLAG_CREATED),
        (Flag.TRUNCATED, TRUNCATE, wire.ACCESS_FLAG_NONE),
    ],
)
def test_an_open_that_changes_content_is_a_write(flags: Flag, op: int, row_flags: int) -> None:
    files = Files()
    files.touch(Kind.OPEN_WRITE, EPOCH, flags=flags)

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.op, row.flags, row.file) == (op, row_flags, version(1))


def test_an_open_for_writing_alone_changes_nothing() -> None:
    files = Files()
    files.touch(Kind.OPEN_WRITE, 0)

    assert files.bound(WRITE) == []
    assert files.requests(NOW_NS + SECOND_NS) == []


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (Flag.MAY_WRITE, wire.ACCESS_FLAG_MAY_WRITE),
        (Flag.NAMELESS, wire.ACCESS_FLAG_NAMELESS),
        (Flag.PATH_TRUNCATED, wire.ACCESS_FLAG_PATH_TRUNCATED),
        (Flag.CREATED, wire.ACCESS_FLAG_CREATED),
        (Flag.URING, wire.ACCESS_FLAG_NONE),
    ],
)
def test_remarks_of_a_touch(flag: Flag, told: int) -> None:
    files = Files()
    files.write(ONE, flags=flag)

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert row.flags == told
