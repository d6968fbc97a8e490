"""Events and answers in, rows out: the joints between processes, versions and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.unit.daemon_samples import (
    FILE,
    NOW_NS,
    ONE,
    OTHER_FILE,
    OUR_MOUNTS,
    SECOND_NS,
    Daemon,
    on,
    rows_of,
    version,
    walked,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.hash_messages import CodeReply
from whenced.record import USE, USE_KEY, Kind, Part
from whenced.rows import (
    AccessRow,
    CodeRow,
    DigestRow,
    EndRow,
    FileVersion,
    ProcessKey,
    StartRow,
    StreamRow,
)

BASH = ProcessKey(101, 2_000, 1)  # whom event() is about, found alive at its exec 1
CONTAINER_MOUNTS = 9


# --- touches and programs ----------------------------------------------------------------------


def test_a_touch_becomes_an_access_of_its_process() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/data/train.csv")

    (row,) = daemon.rows(AccessRow)

    assert (row.process, row.file, row.path) == (BASH, version(0), "/data/train.csv")
    assert row.mount_namespace == OUR_MOUNTS


def test_processes_come_before_what_names_them() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/data/train.csv")

    kinds = [type(row) for row in daemon.observer.take_rows()]

    assert kinds == [StartRow, AccessRow]
    assert daemon.observer.waiting == 0


def test_a_lost_path_is_the_last_known_name() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/data/f")
    daemon.see(Kind.MAP, text=99)
    daemon.see(Kind.MAP, text=99, **on(OTHER_FILE))

    paths = [row.path for row in daemon.rows(AccessRow) if row.op == wire.ACCESS_OP_MAP]

    assert paths == ["/data/f", "/(path lost)/device 8388609 inode 43"]
    assert daemon.versions.at_path(OUR_MOUNTS, b"/data/f") is not None


def test_a_program_reads_its_executable() -> None:
    daemon = Daemon()
    daemon.run(b"/usr/bin/python3", b"python3", b"train.py")

    rows = daemon.observer.take_rows()
    (start,), (access,) = rows_of(StartRow, rows), rows_of(AccessRow, rows)

    assert (access.op, access.path, access.file) == (
        (wire.ACCESS_OP_EXECUTE, "/usr/bin/python3", version(0))
    )
    assert (start.exe, start.exe_file, start.cwd) == (
        ("/usr/bin/python3", version(0), "/home/alice")
    )
    assert start.arguments == ("python3", "train.py")


def test_an_executable_whose_path_was_lost_keeps_its_name() -> None:
    daemon = Daemon()
    daemon.run(b"/bin/tool", b"tool")
    daemon.see(Kind.EXEC, text=99, exec_id=2)

    paths = {row.path for row in daemon.rows(AccessRow)}

    assert paths == {"/bin/tool"}


def test_the_end_of_a_process_is_counted_once() -> None:
    daemon = Daemon()
    daemon.run(b"/bin/true", b"true")
    daemon.see(Kind.EXIT, value=3 << 8)
    daemon.see(Kind.EXIT, value=3 << 8)

    assert [(row.process, row.exit_code) for row in daemon.rows(EndRow)] == [(BASH, 3)]
    assert daemon.observer.ended == 1


def test_the_end_of_a_writer_has_its_files_looked_at() -> None:
    daemon = Daemon()
    daemon.run(b"/bin/train", b"train")
    daemon.touch(Kind.WRITE, b"/out/model", ONE, **on(OTHER_FILE))
    daemon.see(Kind.EXIT, at_ns=NOW_NS + 5)

    assert daemon.versions.jobs.next_due_ns == NOW_NS + 5 + 1_000_000


def test_the_snapshot_tells_processes_and_what_they_have_open() -> None:
    daemon = Daemon()
    daemon.see(Kind.PROCESS_SEEN, {Part.PATH: walked(b"/bin/bash")}, exec_id=4)
    daemon.touch(Kind.FILE_SEEN, b"/data/f", exec_id=4, **on(OTHER_FILE))

    rows = daemon.observer.take_rows()
    (start,), (access,) = rows_of(StartRow, rows), rows_of(AccessRow, rows)

    assert (start.process, start.exe, start.exe_file) == (
        BASH._replace(image=4),
        "/bin/bash",
        version(0),
    )
    assert (access.path, access.flags) == ("/data/f", wire.ACCESS_FLAG_SNAPSHOT)


def test_open_files_of_a_process_out_of_scope_are_nobodys() -> None:
    daemon = Daemon()
    daemon.touch(Kind.FILE_SEEN, b"/data/f")

    assert daemon.observer.take_rows() == []


@pytest.mark.parametrize(
    ("kind", "path", "write", "told"),
    [
        (Kind.PIPE_WRITE, b"/", True, None),
        (Kind.PIPE_READ, b"/", False, None),
        (Kind.PIPE_READ, b"/tmp/fifo", False, "/tmp/fifo"),
    ],
)
def test_streams(kind: Kind, path: bytes, write: bool, told: str | None) -> None:
    daemon = Daemon()
    daemon.touch(kind, path)

    (row,) = daemon.rows(StreamRow)

    assert row == StreamRow(BASH, FILE.device, FILE.inode, write, NOW_NS, told)


# --- counts ------------------------------------------------------------------------------------


def uses(**counts: int) -> tuple[Any, Any]:
    """Return one row of a retired aggregate table."""
    key, use = np.zeros(1, dtype=USE_KEY), np.zeros(1, dtype=USE)
    key["process_tgid"], key["process_start_ns"], key["process_exec_id"] = 101, 2_000, 1
    key["file_device"], key["file_inode"], key["file_generation"] = FILE
    for name, count in counts.items():
        use[name] = count
    return key, use


def test_counts_are_added_to_the_touch() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/data/f")
    daemon.observer.handle_uses(*uses(read_ops=4, read_bytes=4_000), NOW_NS + 7)

    (row,) = daemon.rows(AccessRow)

    assert (row.ops, row.bytes, row.first_ns, row.last_ns) == (4, 4_000, NOW_NS, NOW_NS + 7)


def test_the_last_write_is_told_to_the_nanosecond() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/f", ONE)
    counts = uses(write_ops=2, write_bytes=20, last_write_ns=NOW_NS + 3)
    daemon.observer.handle_uses(*counts, NOW_NS + 7)

    (row,) = daemon.rows(AccessRow)

    assert (row.ops, row.bytes, row.last_ns) == (2, 20, NOW_NS + 3)


def test_counts_of_an_unknown_process_and_empty_ones_are_dropped() -> None:
    daemon = Daemon()
    daemon.observer.handle_uses(*uses(read_ops=4), NOW_NS)
    daemon.touch(Kind.OPEN_WRITE, b"/data/f")
    daemon.observer.take_rows()
    daemon.observer.handle_uses(*uses(first_ns=NOW_NS), NOW_NS)

    assert daemon.observer.take_rows() == []


# --- code --------------------------------------------------------------------------------------


def asked_code(daemon: Daemon) -> list[tuple[bytes, bytes]]:
    """Return (working directory, script) of the code requests so far."""
    return [(request.cwd, request.script) for request in daemon.observer.code_requests]


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        ((b"python", b"/src/train.py"), b"/src/train.py"),
        ((b"python", b"src/train.py"), b"src/train.py"),
        ((b"python", b"train.py"), b""),
        ((b"python",), b""),
    ],
)
def test_a_program_asks_for_the_state_of_its_code(
    arguments: tuple[bytes, ...], script: bytes
) -> None:
    daemon = Daemon()
    daemon.run(b"/usr/bin/python3", *arguments)

    assert asked_code(daemon) == [(b"/home/alice", script)]


def test_a_shim_in_its_version_managers_folder_asks_for_nothing() -> None:
    """That folder is a repository, and not the job's."""
    daemon = Daemon()
    daemon.run(b"/usr/bin/readlink", b"readlink", b"pyenv", cwd=b"/home/alice/.pyenv/libexec")

    assert asked_code(daemon) == []


def test_the_answer_is_a_row_of_the_program() -> None:
    daemon = Daemon()
    daemon.run(b"/usr/bin/python3", b"python3")
    ticket = daemon.observer.code_requests[0].ticket
    reply = CodeReply(ticket, "/home/alice", "c0ffee", "", "", True, ("train.py",))
    daemon.observer.on_reply(reply, NOW_NS + 5)
    daemon.observer.on_reply(reply, NOW_NS + 6)

    rows = daemon.rows(CodeRow)

    expected = CodeRow(BASH, "/home/alice", "c0ffee", None, None, True, ("train.py",), NOW_NS + 5)
    assert rows == [expected]


def test_a_directory_without_a_repository_is_left_alone_for_a_second() -> None:
    daemon = Daemon()
    daemon.run(b"/bin/ls", b"ls")
    daemon.observer.on_reply(CodeReply(daemon.observer.code_requests[0].ticket), NOW_NS)
    asked = []
    for seconds in (0.5, 1.5):
        daemon.observer.code_requests.clear()
        daemon.run(b"/bin/ls", b"ls", at_ns=NOW_NS + int(seconds * SECOND_NS))
        asked.append(len(daemon.observer.code_requests))

    assert asked == [0, 1]
    assert daemon.rows(CodeRow) == []


def test_tickets_of_code_and_content_are_never_the_same() -> None:
    daemon = Daemon()
    daemon.run(b"/bin/ls", b"ls")
    daemon.versions.tick(NOW_NS)

    hashes = {request.ticket for request in daemon.versions.jobs.requests}
    codes = {request.ticket for request in daemon.observer.code_requests}

    assert (len(hashes), len(codes), hashes & codes) == (1, 1, set())


def test_a_digest_answers_the_read() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/data/f")
    daemon.hashed(b"data", 0)

    rows = daemon.observer.take_rows()
    (access,), (digest,) = rows_of(AccessRow, rows), rows_of(DigestRow, rows)

    assert isinstance(access.file, FileVersion)
    assert (digest.file, digest.blake3) == (access.file, b"data")
