"""The hasher process and its client: real process, real socket, real crashes and hangs."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from whenced.hash_client import HUNG_NS, HashClient, HasherOptions
from whenced.hash_messages import (
    CONTROL,
    IDLE,
    OPENER,
    READER,
    Board,
    CodeReply,
    CodeRequest,
    HashReply,
    HashRequest,
    Mark,
    Message,
    Reply,
    decode,
    encode,
    new_board_fd,
)
from whenced.hash_queue import NO_FD, Job, JobQueue, Shelf
from whenced.share import SECOND_NS, Bucket

GIVE_UP_S = 60.0


@pytest.fixture
def client(tmp_path: Path) -> Iterator[HashClient]:
    client = HashClient(HasherOptions(tmp_path / "cache.sqlite"))
    yield client
    client.close()


def receive_until(client: HashClient, done: Callable[[list[Reply]], bool]) -> list[Reply]:
    """Collect replies as a daemon's loop would, until `done` says enough."""
    replies: list[Reply] = []
    events = select.epoll()
    events.register(client.fileno(), select.EPOLLIN)
    deadline_s = time.monotonic() + GIVE_UP_S
    while not done(replies) and time.monotonic() < deadline_s:
        events.poll(0.2)
        replies += client.receive()
    events.close()
    return replies


def test_files_come_back_with_their_digests(client: HashClient, tmp_path: Path) -> None:
    expected = {}
    for ticket in range(200):
        path = tmp_path / f"f{ticket}"
        path.write_bytes(os.urandom(ticket * 50))
        expected[ticket] = blake3(path.read_bytes()).digest()
        client.send(HashRequest(ticket, os.fsencode(path), inode=path.stat().st_ino))
    replies = receive_until(client, lambda replies: len(replies) == 200)

    assert {r.ticket: r.blake3 for r in replies if isinstance(r, HashReply)} == expected
    assert client.outstanding == 0


def test_a_file_deleted_after_the_request_was_taken_is_still_hashed(
    client: HashClient, tmp_path: Path
) -> None:
    path = tmp_path / "gone"
    path.write_bytes(b"soon gone")
    inode = path.stat().st_ino
    request = HashRequest(3, os.fsencode(path), device=1, inode=inode, generation=1)
    client.send(replace(request, ticket=1, hold_only=True))
    client.send(HashRequest(2, b"/nowhere", inode=1))  # answered after the first was opened
    receive_until(client, lambda replies: len(replies) == 1)
    path.unlink()
    client.send(request)
    replies = receive_until(client, lambda replies: len(replies) == 1)

    assert [(r.ticket, r.blake3) for r in replies if isinstance(r, HashReply)] == [
        (3, blake3(b"soon gone").digest())
    ]


def test_a_killed_hasher_is_replaced_and_loses_no_request(
    client: HashClient, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"content")
    first = client.pid
    os.kill(first, signal.SIGKILL)
    client.send(HashRequest(1, os.fsencode(path), inode=path.stat().st_ino))
    replies = receive_until(client, lambda replies: len(replies) == 1)

    assert [r.state for r in replies if isinstance(r, HashReply)] == ["verified"]
    assert client.pid != first


def test_a_request_that_is_at_work_in_two_hung_hashers_is_given_up(tmp_path: Path) -> None:
    now_ns = [time.monotonic_ns()]
    client = HashClient(HasherOptions(tmp_path / "cache.sqlite"), lambda: now_ns[0])
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 33)  # a second and more of work, which the stop below interrupts
    client.send(HashRequest(5, os.fsencode(large)))
    replies: list[Reply] = []
    for _ in range(2):
        wait_for_work(client, ticket=5)
        os.kill(client.pid, signal.SIGSTOP)
        now_ns[0] = time.monotonic_ns() + 4 * HUNG_NS
        replies += client.receive()  # the first call after a long pause does not judge
        replies += client.receive()
        now_ns[0] = time.monotonic_ns()
    client.close()
    reason = "the hasher hung 2 times while reading it"

    assert replies == [HashReply(5, "unhashed", reason=reason)]


def wait_for_work(client: HashClient, ticket: int) -> None:
    """Wait until the reader of the running hasher is at `ticket`."""
    deadline_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline_s:
        child = client._child
        if child is not None and child.board.read()[READER].ticket == ticket:
            return
        client.receive()
        time.sleep(0.005)


def test_too_many_requests_are_not_taken(client: HashClient) -> None:
    os.kill(client.pid, signal.SIGSTOP)
    taken = [client.send(HashRequest(n, b"/nowhere", inode=1)) for n in range(20_001)]

    assert (all(taken[:-1]), taken[-1]) == (True, False)


def test_code_requests_share_the_process(client: HashClient, tmp_path: Path) -> None:
    client.send(CodeRequest(9, os.fsencode(tmp_path)))
    replies = receive_until(client, lambda replies: len(replies) == 1)

    assert replies == [CodeReply(9)]


# --- messages and board ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        HashRequest(1, b"/a/\xff\xfe\xc3\xa9 b", version=(1 << 64) - 1, written=True),
        HashReply(2, "verified", bytes(range(256))[:32], b"\xff" * 32, 5, 1 << 40, 3, ""),
        HashReply(3, "torn", reason="because ✓"),
        CodeRequest(4, b"/w", b"/w/\x80.py", 77),
        CodeReply(5, "/w", "0" * 40, "main", "", dirty=True, modified=("a", "b\\xff")),
    ],
)
def test_a_message_is_the_same_after_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b'["Other",1]', b'["HashReply",1]', b"[[[]]]",
        b'["InspectReply",{},0,[]]', b'["InspectReply",1,0,[7]]',
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(data)


def test_both_sides_see_the_same_board() -> None:
    fd = new_board_fd(11)
    ours, theirs = Board(fd), Board(fd)
    os.close(fd)
    theirs.mark(OPENER, 42, 99)

    marks = ours.read()
    assert (marks[OPENER], marks[CONTROL]) == (Mark(42, 99), Mark(IDLE, 11))


# --- order, shelf, share ---------------------------------------------------------------------


def job(ticket: int, size_bytes: int, arrived_ns: int = 0, fd: int = NO_FD) -> Job:
    return Job(HashRequest(ticket, b"/f", 0, -1, 1, ticket, 1), fd, size_bytes, arrived_ns)


def order(jobs: list[Job]) -> list[int]:
    queue = JobQueue()
    for each in jobs:
        queue.put(each)
    taken = (queue.take(0) for _ in jobs)
    return [each.request.ticket for each in taken if each is not None]


def test_small_files_come_first() -> None:
    assert order([job(1, 1 << 30), job(2, 1 << 10), job(3, 1 << 20)]) == [2, 3, 1]


def test_equal_files_come_by_age() -> None:
    assert order([job(1, 10, 300), job(2, 10, 100), job(3, 10, 200)]) == [2, 3, 1]


def test_a_large_file_that_waited_long_is_not_overtaken() -> None:
    assert order([job(1, 1 << 30, 0), job(2, 10, 60 * SECOND_NS)]) == [1, 2]


def test_only_a_smaller_file_overtakes() -> None:
    queue = JobQueue()
    queue.put(job(1, 1000))

    assert queue.take_smaller(999) is None
    assert queue.take_smaller(1000) == job(1, 1000)


def test_deleted_files_do_not_fill_the_disk(tmp_path: Path) -> None:
    queue = JobQueue()
    fds = []
    for ticket, megabytes in ((1, 17), (2, 18), (3, 19)):
        path = tmp_path / str(ticket)
        path.write_bytes(bytes(megabytes << 20))
        fds.append(os.open(path, os.O_RDONLY))
        if ticket != 2:
            path.unlink()
        queue.put(job(ticket, megabytes << 20, fd=fds[-1]))
    dropped = [each.request.ticket for each in queue.take_deleted(limit_bytes=30 << 20)]
    for fd in fds:
        os.close(fd)

    assert (dropped, queue.held) == ([3], 2)


def test_the_shelf_gives_a_descriptor_back_once_and_drops_the_oldest() -> None:
    shelf = Shelf()
    requests = [job(ticket, 0).request for ticket in (1, 2, 3)]
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in requests]
    for now_ns, (request, fd) in enumerate(zip(requests, fds, strict=True)):
        shelf.keep(request, fd, now_ns)
    shelf.expire(now_ns=3, room=2)
    taken = [shelf.take(request) for request in requests]
    again = shelf.take(requests[1])
    for fd in fds[1:]:
        os.close(fd)

    assert (taken, again) == ([NO_FD, *fds[1:]], NO_FD)


def test_a_burst_is_free_and_the_rest_waits_for_its_share() -> None:
    bucket = Bucket(share=0.5, now_ns=0, burst_ns=SECOND_NS)
    first = bucket.take(SECOND_NS, 0)
    second = bucket.take(SECOND_NS // 10, 0)

    assert (first, second) == (0, SECOND_NS // 5)


def test_any_ten_seconds_use_the_share_and_one_burst_at_most() -> None:
    bucket = Bucket(share=0.25, now_ns=0, burst_ns=SECOND_NS)
    now_ns, used_ns = 3600 * SECOND_NS, 0
    end_ns = now_ns + 10 * SECOND_NS
    while now_ns < end_ns:
        used_ns += 7_000_000
        now_ns += 7_000_000 + bucket.take(7_000_000, now_ns + 7_000_000)

    assert used_ns <= 10 * SECOND_NS * 0.25 + SECOND_NS + 7_000_000
