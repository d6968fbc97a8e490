"""Content that is not at rest: half-written files, answers without a digest, unseen changes."""

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
    WRITER,
    Files,
    event,
    version,
    written,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.hash_messages import ANY, HashState
from whenced.record import Flag, Kind
from whenced.rows import ProcessKey

READ = wire.ACCESS_OP_READ
WRITE = wire.ACCESS_OP_WRITE
TRUNCATE = wire.ACCESS_OP_TRUNCATE
OVERWRITTEN = "overwritten before its bytes could be read"
OVERLAPPED = "read by a call that may have begun before another program's write ended"
HALF_WRITTEN = "read while it was being written"


# --- reads of what is being written ---------------------------------------------------------------


def test_a_read_of_the_final_state_waits_and_then_reads_the_writers_version() -> None:
    files = Files()
    files.write(ONE)
    files.read(EPOCH + 5)
    before = files.bound()
    files.reply(files.request(), content=b"model", version=EPOCH + 5)

    assert before == []
    assert files.bound() == files.bound(WRITE) == [version(1)]
    assert files.contents() == {version(1): b"model"}


@pytest.mark.parametrize("sealed", [False, True])
def test_a_read_that_may_have_begun_before_the_write_ended_is_torn(*, sealed: bool) -> None:
    """Its number is the final one, but what it got may be older: no digest is claimed of it."""
    files = written(number=EPOCH + 2) if sealed else Files()
    if not sealed:
        files.write(ONE)
    files.read(EPOCH + 2, flags=Flag.OVERLAPPED)
    if not sealed:
        files.reply(files.request(), content=b"model", version=EPOCH + 2)

    assert files.refusals() == {files.bound()[0]: OVERLAPPED}
    assert files.contents() == {version(1): b"model"}


def test_a_read_of_an_earlier_state_is_torn() -> None:
    files = Files()
    files.write(ONE)
    files.read(EPOCH + 5)
    files.reply(files.request(), content=b"model", version=EPOCH + 6)

    (bound,) = files.bound()

    assert bound not in files.contents()
    assert files.refusals()[bound] == HALF_WRITTEN


def test_a_reader_of_a_finished_output_reads_its_writers_version() -> None:
    """The touch of the writer is its first write: size and time move on after it."""
    files = written(number=EPOCH + 9)
    files.read(EPOCH + 9, size_bytes=10, mtime_ns=99)

    assert files.bound() == files.bound(WRITE) == [version(1)]
    assert files.requests(NOW_NS + 2 * SECOND_NS) == []


def test_the_time_of_a_file_may_be_set_after_its_last_write() -> None:
    """As by cp -p and tar."""
    files = written()
    files.read(ONE, mtime_ns=99)
    files.read(ONE, WRITER, mtime_ns=99)

    assert files.bound() == [version(1)] * 2


def test_a_busy_file_is_asked_for_again_each_time_later() -> None:
    files = Files()
    files.write(ONE)
    now_ns = NOW_NS + 20 * MS
    delays_ms = []
    for _ in range(8):
        files.reply(files.request(now_ns), "busy", now_ns)
        due_ns = files.versions.jobs.next_due_ns
        assert due_ns is not None
        delays_ms.append((due_ns - now_ns) // MS)
        now_ns = due_ns

    assert delays_ms == [2, 5, 20, 100, 500, 2000, 2000, 2000]


def test_a_close_ends_the_waiting() -> None:
    files = Files()
    files.write(ONE)
    now_ns = NOW_NS + SECOND_NS
    for _ in range(6):
        files.reply(files.request(now_ns), "busy", now_ns)
        now_ns += 3 * SECOND_NS
    files.reply(files.request(now_ns), "busy", now_ns)
    files.close(EPOCH + 9, at_ns=now_ns)

    assert len(files.requests(now_ns + 10 * MS)) == 1


def test_so_does_the_end_of_the_writer() -> None:
    files = Files()
    files.write(ONE)
    files.reply(files.request(NOW_NS + SECOND_NS), "busy", NOW_NS + 3 * SECOND_NS)
    files.requests(NOW_NS + 3 * SECOND_NS + 2 * MS)
    files.versions.jobs.requests.clear()
    files.versions.on_exit(WRITER.tgid, NOW_NS)

    assert files.versions.jobs.in_flight == 1
    assert files.state().again


def test_a_file_that_stays_open_is_held_once() -> None:
    files = Files()
    files.write(ONE)
    held = []
    for number in range(4):
        now_ns = NOW_NS + (100 + 150 * number) * MS
        files.reply(files.request(now_ns), "busy", now_ns)
        files.requests(now_ns)
        held.append([request.ticket for request in files.holds])

    assert held == [[], [0], [0], [0]]


def test_a_read_of_a_file_that_stays_open_is_told_after_five_seconds() -> None:
    files = Files()
    files.write(ONE)
    files.read(EPOCH + 5)
    files.reply(files.request(), "busy", NOW_NS + 4 * SECOND_NS)
    early = files.bound()
    files.reply(files.request(NOW_NS + 6 * SECOND_NS), "busy", NOW_NS + 6 * SECOND_NS)

    (bound,) = files.bound()

    assert early == []
    assert bound.version & 0x8000


@pytest.mark.parametrize(("sealed", "told"), [(EPOCH + 5, b"model"), (EPOCH + 6, None)])
def test_such_a_read_gets_the_digest_if_nothing_was_written_after_it(
    sealed: int, told: bytes | None
) -> None:
    files = Files()
    files.write(ONE)
    files.read(EPOCH + 5)
    files.reply(files.request(), "busy", NOW_NS + 6 * SECOND_NS)
    (bound,) = files.bound()
    request = files.request(NOW_NS + 9 * SECOND_NS)
    files.reply(request, content=b"model", version=sealed)

    assert files.contents().get(bound) == told
    assert (bound in files.refusals()) == (told is None)
    assert files.contents()[version(1)] == b"model"


def test_two_half_written_states_of_the_same_short_number_get_no_digest() -> None:
    files = Files()
    files.write(ONE)
    for number in (EPOCH + 5, EPOCH + 5 + 0x8000):
        files.read(number, ProcessKey(number & 0xFFFFFFFF, 1, 0))
    files.reply(files.request(), "busy", NOW_NS + 6 * SECOND_NS)
    request = files.request(NOW_NS + 9 * SECOND_NS)
    files.reply(request, content=b"model", version=EPOCH + 5 + 0x8000)

    assert list(files.contents()) == [version(1)]


# --- answers without a digest ---------------------------------------------------------------------


@pytest.mark.parametrize(("state", "tries"), [("torn", 8), ("unhashed", 2)])
def test_what_may_come_to_rest_is_tried_again(state: HashState, tries: int) -> None:
    files = Files()
    files.write(ONE)
    now_ns = NOW_NS + SECOND_NS
    asked = 0
    while requests := files.requests(now_ns):
        asked += 1
        files.reply(requests[0], state, now_ns, reason="no luck", version=ANY)
        now_ns += 3 * SECOND_NS

    assert asked == tries + 1
    assert files.refusals() == {version(1): "no luck"}


def given_up() -> tuple[Files, int]:
    """Return files of which one could not be read while it was open, and when."""
    files = Files()
    files.write(ONE)
    now_ns = NOW_NS + SECOND_NS
    while requests := files.requests(now_ns):
        files.reply(requests[0], "unhashed", now_ns, reason="not found", version=ANY)
        now_ns += 3 * SECOND_NS
    return files, now_ns


def test_an_output_that_could_not_be_read_while_it_was_open_is_read_after_its_close() -> None:
    files, now_ns = given_up()
    files.close(EPOCH + 9, at_ns=now_ns)
    files.reply(files.request(now_ns + SECOND_NS), content=b"model", version=EPOCH + 9)

    assert files.contents() == {version(1): b"model"}


@pytest.mark.parametrize("reads", [0, 1])
def test_or_after_the_end_of_its_writer(reads: int) -> None:
    files, now_ns = given_up()
    for _ in range(reads):
        files.read(ONE)
    files.versions.on_exit(WRITER.tgid, now_ns)
    files.reply(files.request(now_ns + SECOND_NS), content=b"model", version=EPOCH + 9)

    assert files.contents() == {version(1, reads): b"model"}


def test_but_never_as_what_a_reader_saw_before_the_last_write() -> None:
    files, now_ns = given_up()
    files.read(ONE)
    files.close(EPOCH + 9, at_ns=now_ns)
    files.reply(files.request(now_ns + SECOND_NS), content=b"model", version=EPOCH + 9)

    (bound,) = files.bound()

    assert bound not in files.contents()
    assert list(files.contents().values()) == [b"model"]


def test_an_answer_to_an_unknown_question_is_ignored() -> None:
    files = Files()
    files.read(0)
    request = files.request()
    files.reply(request, content=b"data", version=0)
    files.reply(request, content=b"other", version=0)

    assert files.contents() == {version(0): b"data"}


# --- changes that no hook saw ---------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"size_bytes": 11}, {"mtime_ns": 2}])
def test_another_size_or_time_under_the_same_number_is_another_version(
    changed: dict[str, int],
) -> None:
    files = Files()
    files.read(0)
    files.reply(files.request(), content=b"old", version=0)
    files.read(0, WRITER, **changed)
    files.reply(files.request(), content=b"new", version=0, size_bytes=11)

    assert files.bound() == [version(0), version(0, 1)]
    assert files.contents() == {version(0): b"old", version(0, 1): b"new"}


def test_a_digest_that_was_under_way_belongs_to_neither() -> None:
    files = Files()
    files.read(0)
    asked = files.request()
    files.read(0, WRITER, mtime_ns=2)
    files.reply(asked, content=b"which?", version=0)
    files.reply(files.request(), content=b"new", version=0)

    assert files.contents() == {version(0, 1): b"new"}
    assert files.refusals() == {version(0): OVERWRITTEN}


def test_a_digest_of_another_size_is_not_of_the_bytes_that_were_read() -> None:
    files = Files()
    files.read(0, size_bytes=10)
    files.reply(files.request(), content=b"new", version=0, size_bytes=11)

    assert files.contents() == {}
    assert files.refusals() == {version(0): OVERWRITTEN}


def test_truncate_by_path_is_a_version_of_its_own() -> None:
    files = written()
    files.versions.truncated(files.state(), event(Kind.TRUNCATE_PATH), READER)
    files.reply(files.request(NOW_NS + SECOND_NS), content=b"cut", version=ONE, size_bytes=3)
    files.read(ONE, size_bytes=3, mtime_ns=9)

    assert files.bound(TRUNCATE) == files.bound(READ) == [version(1, 1)]
    assert files.contents() == {version(1): b"model", version(1, 1): b"cut"}


def test_truncate_by_path_of_a_file_that_was_never_touched() -> None:
    files = Files()
    state = files.versions.met(FILE, b"/data/f", event(Kind.TRUNCATE_PATH))
    files.versions.truncated(state, event(Kind.TRUNCATE_PATH), READER)
    request = files.request()
    files.reply(request, content=b"cut", version=0)

    assert (request.version, request.written) == (ANY, True)
    assert files.contents() == {version(0, 1): b"cut"}
    assert files.refusals() == {}


def test_who_reads_back_what_it_is_writing_reads_its_own_output() -> None:
    files = Files()
    files.write(ONE, WRITER)
    files.read(ONE + 1, WRITER)
    files.close(ONE + 5)
    files.reply(files.request(NOW_NS + SECOND_NS), content=b"linked", version=ONE + 5)

    assert files.bound(READ) == [version(1)]
    assert files.refusals() == {}
