"""A hasher with a user of its own: one capability, and a door to what it may not look into."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from tests.unit.test_hasher import receive_until

from whenced.door import Door, DoorKeeper
from whenced.hash_client import HashClient, HasherOptions
from whenced.hash_messages import HashReply, HashRequest

USER = "nobody"
CAP_DAC_READ_SEARCH = 1 << 2  # include/uapi/linux/capability.h


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[HashClient]:
    folder = tmp_path / "hasher"
    folder.mkdir()
    account = pwd.getpwnam(USER)
    os.chown(folder, account.pw_uid, account.pw_gid)
    client = HashClient(HasherOptions(folder / "cache.sqlite", user=USER))
    yield client
    client.close()


@pytest.fixture
def door() -> Iterator[Door]:
    keeper = DoorKeeper()
    opened = Door(os.dup(keeper.theirs.fileno()))
    yield opened
    opened.close()
    keeper.theirs.close()
    keeper.close()


def digest_of(client: HashClient, request: HashRequest) -> tuple[str, bytes, str]:
    client.send(request)
    (reply,) = receive_until(client, lambda replies: len(replies) == 1)
    assert isinstance(reply, HashReply)
    return reply.state, reply.blake3, reply.reason


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_may_read_every_file_and_nothing_else(confined: HashClient, tmp_path: Path) -> None:
    secret = tmp_path / "of root alone"
    secret.write_bytes(b"weights")
    secret.chmod(0o600)
    request = HashRequest(1, os.fsencode(secret), inode=secret.stat().st_ino)

    found = digest_of(confined, request)

    status = status_of(confined.pid)
    assert found == ("verified", blake3(b"weights").digest(), "")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {
        CAP_DAC_READ_SEARCH
    }
    assert (status["NoNewPrivs"], status["Groups"]) == ("1", "")
    assert set(status["Uid"].split()) == {str(pwd.getpwnam(USER).pw_uid)}


def test_a_file_of_another_mount_namespace_is_reached_through_the_door(
    confined: HashClient, tmp_path: Path
) -> None:
    """A container's file: /proc/PID/root of root's process is closed to the hasher."""
    inside = tmp_path / "inside"
    inside.mkdir()
    script = (
        f"mount -t tmpfs none {inside} && printf model > {inside}/m && echo ok && exec sleep 60"
    )
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE
    ) as container:
        assert container.stdout is not None
        container.stdout.readline()
        seen = Path(f"/proc/{container.pid}/root") / inside.relative_to("/") / "m"
        request = HashRequest(
            1, os.fsencode(inside / "m"), pid=container.pid, inode=seen.stat().st_ino
        )
        found = digest_of(confined, request)
        container.kill()

    assert found == ("verified", blake3(b"model").digest(), "")


def test_a_deleted_file_is_reached_by_the_descriptor_of_its_process(
    confined: HashClient, tmp_path: Path
) -> None:
    path = tmp_path / "gone"
    path.write_bytes(b"deleted bytes")
    with path.open("rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        path.unlink()
        request = HashRequest(1, os.fsencode(path), pid=os.getpid(), fd=file.fileno(), inode=inode)
        found = digest_of(confined, request)

    assert found == ("verified", blake3(b"deleted bytes").digest(), "")


def test_the_door_gives_what_stands_for_a_file_and_cannot_be_read(door: Door) -> None:
    with Path("/etc/hostname").open("rb") as file:
        given = door.knock(os.getpid(), file.fileno())
        same = os.path.sameopenfile(given, file.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(given, 1)  # O_PATH
        os.close(given)

    assert same


@pytest.mark.parametrize(("pid", "fd"), [(0, -1), (2**31 - 1, -1), (os.getpid(), 9999)])
def test_what_is_not_there_is_said_so(door: Door, pid: int, fd: int) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        door.knock(pid, fd)

    assert refused.value.errno in (errno.ENOENT, errno.ESRCH)


def test_a_malformed_question_ends_the_conversation() -> None:
    keeper = DoorKeeper()
    with socket.socket(fileno=os.dup(keeper.theirs.fileno())) as stranger:
        stranger.settimeout(20.0)
        stranger.send(b"x")
        keeper.theirs.close()
        keeper.close()
        said = stranger.recv(10)

    assert said == b""
