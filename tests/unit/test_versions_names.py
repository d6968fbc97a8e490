"""Where the bytes of a version are looked for, what is forgotten, and whose counts are whose."""

from __future__ import annotations

from tests.unit.daemon_samples import (
    EPOCH,
    FILE,
    MS,
    NOW_NS,
    ONE,
    OTHER_FILE,
    OUR_MOUNTS,
    READER,
    SECOND_NS,
    WRITER,
    Files,
    on,
    rows_of,
    version,
    written,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.file_state import Counts
from whenced.hash_messages import ANY
from whenced.record import Flag, Kind
from whenced.rows import AccessRow

READ = wire.ACCESS_OP_READ
WRITE = wire.ACCESS_OP_WRITE


# --- names ----------------------------------------------------------------------------------------


def path_of_request(files: Files) -> bytes:
    return files.request(NOW_NS + SECOND_NS).path


def test_a_renamed_file_is_looked_for_under_its_new_name() -> None:
    files = Files()
    files.write(ONE, path=b"/out/tmp")
    files.versions.renamed(OUR_MOUNTS, b"/out/tmp", b"/out/model", directory=False)

    assert files.versions.at_path(OUR_MOUNTS, b"/out/tmp") is None
    assert files.versions.at_path(OUR_MOUNTS, b"/out/model") is files.state()
    assert path_of_request(files) == b"/out/model"


def test_a_renamed_directory_takes_what_is_below_it_along() -> None:
    files = Files()
    files.write(ONE, path=b"/out/a/b/model")
    files.write(ONE, path=b"/out/abc", **on(OTHER_FILE))
    files.versions.renamed(OUR_MOUNTS, b"/out/a", b"/kept", directory=True)

    assert files.state().path == b"/kept/b/model"
    assert files.state(OTHER_FILE).path == b"/out/abc"


def test_names_of_another_mount_namespace_stay() -> None:
    files = Files()
    files.write(ONE, path=b"/out/model", mount_ns=1)
    files.versions.renamed(OUR_MOUNTS, b"/out/model", b"/out/b", directory=False)
    files.versions.renamed(OUR_MOUNTS, b"/out", b"/kept", directory=True)

    assert files.state().path == b"/out/model"


def test_a_link_is_where_a_file_is_looked_for() -> None:
    files = Files()
    files.write(ONE, path=b"/tmp/#42")
    files.versions.linked(OUR_MOUNTS, b"/out/model", files.state())
    files.write(ONE + 1, path=b"/tmp/#42")

    assert path_of_request(files) == b"/out/model"


def test_rows_have_the_name_at_the_time_of_the_touch() -> None:
    files = Files()
    files.read(0, path=b"/old")
    files.touch(Kind.MAP, 0, path=b"/new")

    rows = rows_of(AccessRow, files.versions.out.take())

    assert [row.path for row in rows] == ["/old", "/new"]


def test_a_replaced_file_that_is_still_open_does_not_take_the_name_back() -> None:
    files = Files()
    files.read(0, path=b"/model")
    files.write(ONE, path=b"/tmp", **on(OTHER_FILE))
    files.versions.renamed(OUR_MOUNTS, b"/tmp", b"/model", directory=False)
    files.read(0, WRITER, path=b"/model", flags=Flag.NAMELESS)

    found = files.versions.at_path(OUR_MOUNTS, b"/model")

    assert found is files.state(OTHER_FILE)


def test_a_file_that_moves_away_leaves_the_name_of_its_successor_alone() -> None:
    files = Files()
    files.read(0, path=b"/model")
    files.read(0, path=b"/model", **on(OTHER_FILE))
    files.read(0, WRITER, path=b"/elsewhere")

    found = files.versions.at_path(OUR_MOUNTS, b"/model")

    assert found is files.state(OTHER_FILE)


def test_paths_of_containers_are_asked_for_through_a_process_that_lives_there() -> None:
    files = Files()
    files.versions.jobs.namespace_tgids[9] = 555
    files.read(0, mount_ns=9, fd=4)

    request = files.request()

    assert (request.pid, request.fd) == (555, ANY)


# --- what is forgotten ----------------------------------------------------------------------------


def crowded(files: Files) -> None:
    """Meet more files than there is room for, so that FILE is the oldest."""
    for inode in range(100, 100 + files.states_limit):
        files.touch(Kind.OPEN_WRITE, 0, path=b"/other/%d" % inode, inode=inode)
    files.versions.tick(NOW_NS)


def test_the_oldest_file_is_forgotten() -> None:
    files = Files(states_limit=3)
    files.read(0)
    files.reply(files.request(), content=b"data", version=0)
    crowded(files)

    assert files.versions.of_key(FILE) is None
    assert files.versions.at_path(OUR_MOUNTS, b"/data/f") is None


def test_a_file_that_waits_for_an_answer_is_kept() -> None:
    dirty, asked, pending = Files(states_limit=3), Files(states_limit=3), Files(states_limit=3)
    dirty.write(ONE)
    asked.read(0)
    pending.read(ONE)
    for files in (dirty, asked, pending):
        crowded(files)

    assert [files.state().key for files in (dirty, asked, pending)] == [FILE] * 3


def test_more_files_may_wait_than_there_is_room_for() -> None:
    files = Files(states_limit=3)
    for inode in range(10):
        files.write(ONE, inode=inode, path=b"/out/%d" % inode)

    requests = files.requests(NOW_NS + SECOND_NS)

    assert len(requests) == 10


def test_a_forgotten_file_that_changed_unseen_is_not_its_old_self_again() -> None:
    files = Files(states_limit=3)
    files.read(0)
    files.reply(files.request(), content=b"old", version=0)
    files.read(0, mtime_ns=2)
    files.reply(files.request(), content=b"new", version=0)
    crowded(files)
    files.read(0, mtime_ns=2)

    assert files.bound()[-1] == version(0, 1)


# --- counts ---------------------------------------------------------------------------------------


def test_counts_belong_to_the_version_of_the_last_touch() -> None:
    files = written()
    files.read(ONE)
    out = files.versions.out
    out.take()
    out.on_counts(READER, FILE, Counts(3, 300, NOW_NS + MS), Counts())
    out.on_counts(WRITER, FILE, Counts(), Counts(2, 200, NOW_NS + MS))

    read, write = rows_of(AccessRow, out.take())

    assert (read.op, read.file, read.ops, read.bytes) == (READ, version(1), 3, 300)
    assert (write.op, write.file, write.ops, write.bytes) == (WRITE, version(1), 2, 200)


def test_counts_never_move_the_beginning() -> None:
    files = Files()
    files.read(0)
    files.versions.out.on_counts(READER, FILE, Counts(3, 300, NOW_NS + SECOND_NS), Counts())

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.first_ns, row.last_ns) == (NOW_NS, NOW_NS + SECOND_NS)
    assert (row.ops, row.bytes) == (3, 300)


def test_counts_of_a_read_that_waits_come_with_its_version() -> None:
    files = Files()
    files.write(ONE)
    files.read(EPOCH + 5)
    files.versions.out.on_counts(READER, FILE, Counts(3, 300, NOW_NS + MS), Counts())
    files.reply(files.request(), content=b"model", version=EPOCH + 5)
    files.versions.out.on_counts(READER, FILE, Counts(1, 100, NOW_NS + SECOND_NS), Counts())

    (row,) = (r for r in rows_of(AccessRow, files.versions.out.take()) if r.op == READ)

    assert (row.file, row.ops, row.bytes) == (version(1), 4, 400)
    assert (row.first_ns, row.last_ns) == (NOW_NS, NOW_NS + SECOND_NS)


def test_counts_of_an_emptying_open_are_writes_once_it_wrote() -> None:
    files = Files()
    files.touch(Kind.OPEN_WRITE, EPOCH, flags=Flag.TRUNCATED)
    files.touch(Kind.WRITE, ONE)
    files.versions.out.take()
    files.versions.out.on_counts(READER, FILE, Counts(), Counts(1, 10, NOW_NS))

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.op, row.bytes) == (WRITE, 10)


def test_counts_of_what_was_never_touched_or_is_forgotten_are_dropped() -> None:
    files = Files()
    files.read(0)
    out = files.versions.out
    out.take()
    out.on_counts(READER, OTHER_FILE, Counts(1, 1, NOW_NS), Counts())
    out.forget_process(READER)
    out.on_counts(READER, FILE, Counts(1, 1, NOW_NS), Counts())

    assert out.take() == []


def test_touches_of_one_kind_between_two_batches_are_one_row() -> None:
    files = Files()
    for number in range(3):
        files.touch(Kind.MAP, at_ns=NOW_NS + number)

    (row,) = rows_of(AccessRow, files.versions.out.take())

    assert (row.ops, row.first_ns, row.last_ns) == (3, NOW_NS, NOW_NS + 2)
