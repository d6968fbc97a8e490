"""Which file is opened for hashing, and which is never touched."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from tests.unit.fake_probe import FakeProbe, answer, request_for

from whenced.hash_file import Reading, digest_file
from whenced.hash_messages import HashReply
from whenced.hash_open import OpenedFile, ProbeResult, open_requested


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(b"first" * 1000)
    return path


def test_a_replaced_file_is_not_hashed_in_place_of_the_old_one(data: Path) -> None:
    request = request_for(data)
    other = data.with_name("other")
    other.write_bytes(b"second")
    other.replace(data)
    reply = answer(request, FakeProbe())

    assert (reply.state, reply.reason) == ("unhashed", "replaced before it could be read")


def test_another_generation_of_the_inode_is_another_file(data: Path) -> None:
    reply = answer(request_for(data), FakeProbe(generation=100))

    assert (reply.state, reply.reason) == ("unhashed", "replaced before it could be read")


def test_a_deleted_file_says_so(data: Path) -> None:
    request = request_for(data)
    data.unlink()
    reply = answer(request, FakeProbe())

    assert (reply.state, reply.reason) == ("unhashed", "deleted before it could be read")


@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_bytes_are_reached_through_the_descriptor_of_the_process(data: Path, fate: str) -> None:
    content = data.read_bytes()
    with data.open("rb") as held:
        request = request_for(data, pid=os.getpid(), fd=held.fileno())
        data.unlink()
        if fate == "replaced":
            data.write_bytes(b"second")
        reply = answer(request, FakeProbe())

    assert (reply.state, reply.blake3) == ("verified", blake3(content).digest())


def test_a_process_that_is_gone_leaves_the_path(data: Path) -> None:
    gone = 1 << 22  # above pid_max's limit on 64-bit kernels

    assert answer(request_for(data, pid=gone), FakeProbe()).state == "verified"


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(data: Path) -> None:
    request = request_for(data)
    real = data.with_name("real")
    data.rename(real)
    data.symlink_to(real)
    reply = answer(request, FakeProbe())

    assert (reply.state, reply.blake3) == ("unhashed", b"")


def test_a_symbolic_link_in_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "data"
    path.write_bytes(b"content")
    request = request_for(path)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")

    assert answer(request, FakeProbe()).state == "unhashed"


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def make_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_directory])
def test_what_is_no_regular_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "trap"
    make(path)
    reply = answer(request_for(path), FakeProbe())

    assert (reply.state, reply.reason) == ("unhashed", "not a regular file")


def test_a_device_is_never_opened() -> None:
    reply = answer(request_for(Path("/dev/zero")), FakeProbe())

    assert (reply.state, reply.reason) == ("unhashed", "not a regular file")


@pytest.mark.parametrize("magic", [0x65735546, 0x9FA0, 0x62656572])
def test_fuse_and_pseudo_files_are_not_touched(data: Path, magic: int) -> None:
    probe = FakeProbe()
    reply = answer(request_for(data, magic=magic), probe)

    assert (reply.state, probe.calls) == ("unhashed", 0)


def test_a_fuse_mount_that_appeared_since_is_not_read(data: Path) -> None:
    reply = answer(request_for(data), FakeProbe(magic=0x65735546))

    assert reply.reason == "on a FUSE file system, which may never answer"


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_probe_that_fails_is_a_reason_not_a_crash(data: Path, call: int) -> None:
    probe = FakeProbe()

    def fails_later(fd: int) -> ProbeResult | None:
        if probe.calls + 1 == call:
            raise OSError(errno.EPERM, "the probe cannot run")
        return probe(fd)

    request = request_for(data)
    reply = open_requested(request, fails_later)
    if isinstance(reply, OpenedFile):
        fd = reply.fd
        reply = digest_file(fd, request, Reading(fails_later))
        os.close(fd)

    assert isinstance(reply, HashReply)
    assert (reply.state, "the probe cannot run" in reply.reason) == ("unhashed", True)


def test_a_limit_on_size_is_kept(data: Path) -> None:
    probe = FakeProbe()
    reply = answer(request_for(data), probe, Reading(probe, limit_bytes=4999))

    assert (reply.state, reply.reason) == ("unhashed", "larger than the limit of 4999 bytes")
