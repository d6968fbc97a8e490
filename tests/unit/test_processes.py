"""Processes: keys, images, ancestry, ends, and what the snapshot and late records say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.daemon_samples import NOW_NS, OUR_MOUNTS, SECOND_NS, FixedNames, event, walked

from whence_proto.v1 import ingest_pb2 as wire
from whenced.processes import Processes
from whenced.record import Flag, Kind, Part
from whenced.rows import EndRow, FileVersion, ProcessKey, StartRow
from whenced.text import Texts

PYTHON = FileVersion(1, 2, 3, 4)
PARENT = {"tgid": 100, "start_ns": 1_000}
CHILD = {"tgid": 200, "start_ns": 2_000}
OF_PARENT = {"other_tgid": 100, "other_start_ns": 1_000}


def texts(path: bytes = b"/usr/bin/python3", *arguments: bytes, **more: bytes) -> Texts:
    parts = {
        int(Part.PATH): walked(path),
        int(Part.CWD): walked(b"/home/alice"),
        int(Part.ARGS): b"".join(argument + b"\0" for argument in arguments),
    }
    return Texts(parts | {int(Part[name]): raw for name, raw in more.items()})


def fork(processes: Processes, exec_id: int = 5, **fields: Any) -> None:
    """PARENT, whose exec_id is 5, forks CHILD, which copies it."""
    values = {**CHILD, **OF_PARENT, "exec_id": exec_id, "other_exec_id": exec_id} | fields
    processes.on_fork(event(Kind.FORK, **values))


def run(processes: Processes, exec_id: int, *arguments: bytes, **fields: Any) -> ProcessKey:
    """CHILD runs a program."""
    values = {**CHILD, **OF_PARENT, "other_exec_id": 5, "exec_id": exec_id} | fields
    return processes.on_exec(event(Kind.EXEC, **values), texts(b"/bin/p", *arguments), PYTHON)


def seen(processes: Processes, exec_id: int = 5, **fields: Any) -> None:
    """PARENT is found by the snapshot."""
    record = event(Kind.PROCESS_SEEN, **{**PARENT, "exec_id": exec_id} | fields)
    processes.on_seen(record, texts(b"/bin/bash"), PYTHON)


def known_parent(**arguments: tuple[bytes, ...]) -> Processes:
    processes = Processes(FixedNames({100: arguments.get("arguments", (b"bash",))}))
    seen(processes)
    return processes


def test_a_fork_runs_what_its_parent_runs() -> None:
    processes = known_parent()
    parent = processes.take_rows()[0]
    fork(processes)

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert isinstance(parent, StartRow)
    assert (row.process, row.parent) == (ProcessKey(200, 2_000, 0), ProcessKey(100, 1_000, 5))
    assert (row.origin, row.at_ns) == (wire.PROCESS_ORIGIN_FORK, NOW_NS)
    assert (row.exe, row.exe_file, row.arguments) == ("/bin/bash", PYTHON, ("bash",))
    assert row.cwd == parent.cwd


def test_a_fork_whose_parent_is_unknown_has_none() -> None:
    processes = Processes(FixedNames())
    fork(processes)

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert (row.parent, row.exe, row.arguments) == (None, None, ())


def test_fork_and_exec_between_two_batches_are_one_row() -> None:
    processes = known_parent()
    processes.take_rows()
    fork(processes)
    run(processes, 6, b"p", b"x")

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert (row.process, row.origin) == (ProcessKey(200, 2_000, 0), wire.PROCESS_ORIGIN_EXEC)
    assert (row.exe, row.arguments, row.exe_file) == ("/bin/p", ("p", "x"), PYTHON)
    assert row.parent == ProcessKey(100, 1_000, 5)


def test_an_exec_in_the_next_batch_describes_the_same_image_again() -> None:
    processes = known_parent()
    fork(processes)
    first = processes.take_rows()[0]
    run(processes, 6)

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert isinstance(first, StartRow)
    assert row.process == first.process


def test_a_chain_of_execs_ends_one_image_and_begins_the_next() -> None:
    processes = known_parent()
    fork(processes)
    keys = [run(processes, exec_id, at_ns=NOW_NS + exec_id) for exec_id in (6, 7, 8)]

    ends = [row for row in processes.take_rows() if isinstance(row, EndRow)]

    assert [key.image for key in keys] == [0, 1, 2]
    assert ends == [
        EndRow(ProcessKey(200, 2_000, 0), NOW_NS + 7, replaced=True),
        EndRow(ProcessKey(200, 2_000, 1), NOW_NS + 8, replaced=True),
    ]


@pytest.mark.parametrize(("exec_id", "image"), [(5, 0), (6, 0), (7, 1), (9, 3), (0, 0)])
def test_images_of_a_process_that_was_forked_at_exec_id_5(exec_id: int, image: int) -> None:
    processes = known_parent()
    fork(processes)

    assert processes.key(200, 2_000, exec_id) == ProcessKey(200, 2_000, image)


def test_images_of_a_process_that_was_found_are_its_execs() -> None:
    processes = known_parent()

    key = run(processes, 6, **PARENT)

    assert key == ProcessKey(100, 1_000, 6)


def test_an_exec_keeps_the_parent_that_forked_it() -> None:
    """An orphan's parent is init by the time of its exec."""
    processes = known_parent()
    seen(processes, tgid=1, start_ns=1)
    fork(processes)
    run(processes, 6, other_tgid=1, other_start_ns=1)

    row = processes.take_rows()[-1]

    assert isinstance(row, StartRow)
    assert row.parent == ProcessKey(100, 1_000, 5)


def test_a_child_belongs_to_the_image_that_forked_it() -> None:
    processes = known_parent()
    run(processes, 6, **PARENT)
    fork(processes, other_exec_id=6, exec_id=6)

    (row,) = [r for r in processes.take_rows() if r.process.tgid == 200]

    assert isinstance(row, StartRow)
    assert row.parent == ProcessKey(100, 1_000, 6)


@pytest.mark.parametrize(
    ("word", "code", "signal"),
    [(0, 0, 0), (1 << 8, 1, 0), (255 << 8, 255, 0), (9, 0, 9), (11 | 0x80, 0, 11), (15, 0, 15)],
)
def test_exit_words(word: int, code: int, signal: int) -> None:
    processes = known_parent()
    fork(processes)
    run(processes, 6)
    processes.take_rows()

    key = processes.on_exit(event(Kind.EXIT, value=word, exec_id=6, **CHILD))

    assert processes.take_rows() == [EndRow(ProcessKey(200, 2_000, 0), NOW_NS, code, signal)]
    assert key == ProcessKey(200, 2_000, 0)


def test_an_exit_ends_the_newest_image() -> None:
    processes = known_parent()
    fork(processes)
    run(processes, 6)
    run(processes, 7)

    key = processes.on_exit(event(Kind.EXIT, exec_id=7, **CHILD))

    assert key == ProcessKey(200, 2_000, 1)


def test_a_process_ends_once() -> None:
    processes = known_parent()
    fork(processes)
    first = processes.on_exit(event(Kind.EXIT, **CHILD))
    processes.take_rows()

    second = processes.on_exit(event(Kind.EXIT, **CHILD))

    assert (first, second, processes.take_rows()) == (ProcessKey(200, 2_000, 0), None, [])


def test_nobody_tells_the_end_of_an_unknown_process() -> None:
    processes = Processes(FixedNames())

    assert processes.on_exit(event(Kind.EXIT, **CHILD)) is None
    assert processes.take_rows() == []


def test_a_record_of_an_unknown_process_introduces_it_once() -> None:
    processes = Processes(FixedNames({200: (b"old", b"--flag")}))
    keys = [processes.key_of(event(Kind.READ, exec_id=9, **CHILD)) for _ in range(2)]

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert keys == [ProcessKey(200, 2_000, 9)] * 2
    assert (row.origin, row.at_ns) == (wire.PROCESS_ORIGIN_SNAPSHOT, 2_000)
    assert row.arguments == ("old", "--flag")


def test_an_unknown_process_that_runs_a_program_needs_no_introduction() -> None:
    processes = Processes(FixedNames())
    key = run(processes, 9, b"p")

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert (key.image, row.origin, row.arguments) == (9, wire.PROCESS_ORIGIN_EXEC, ("p",))


def test_the_same_number_started_later_is_another_process() -> None:
    processes = known_parent()
    fork(processes)

    assert processes.key(200, 9_999, 5) is None


def test_live_records_win_over_the_snapshot() -> None:
    processes = known_parent()
    processes.take_rows()
    fork(processes)
    run(processes, 6, b"live")
    seen(processes, exec_id=6, **CHILD)

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert row.arguments == ("live",)
    assert processes.key(200, 2_000, 7) == ProcessKey(200, 2_000, 1)


def test_a_snapshot_has_arguments_from_the_host_and_the_time_of_its_start() -> None:
    processes = known_parent(arguments=(b"bash", b"-l"))

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert (row.arguments, row.at_ns) == (("bash", "-l"), 1_000)
    assert (row.exe, row.exe_file) == ("/bin/bash", PYTHON)


def test_what_a_row_says_of_its_process() -> None:
    processes = known_parent()
    processes.take_rows()
    fork(
        processes, uid=1000, login_uid=1000, session=11, process_group=12, terminal=13,
        cgroup_id=5, pid_ns=14, name=b"bash",
    )  # fmt: skip

    (row,) = processes.take_rows()

    assert isinstance(row, StartRow)
    assert (row.uid, row.user, row.login_uid, row.cgroup) == (1000, "alice", 1000, "/user.slice")
    assert (row.session, row.process_group, row.terminal) == (11, 12, 13)
    assert (row.mount_namespace, row.pid_namespace) == (OUR_MOUNTS, 14)
    assert row.command_name == "bash"


def test_a_script_keeps_what_was_asked_to_run() -> None:
    processes = known_parent()
    processes.take_rows()
    record = event(Kind.EXEC, exec_id=6, flags=Flag.ARGS_TRUNCATED, **PARENT)
    processes.on_exec(record, texts(b"/bin/sh", b"sh", SCRIPT=b"./go.sh\0"), PYTHON)

    row = processes.take_rows()[-1]

    assert isinstance(row, StartRow)
    assert (row.exe, row.script, row.arguments_truncated) == ("/bin/sh", "./go.sh", True)
    assert row.cwd == "/home/alice"


def test_secrets_leave_with_no_row() -> None:
    secret = b"AKIAIOSFODNN7EXAMPLE"
    processes = Processes(FixedNames({100: (b"aws", b"--token", secret)}))
    seen(processes)
    processes.key_of(event(Kind.READ, tgid=100, start_ns=77))
    fork(processes)
    run(processes, 6, b"p", b"--password=" + secret)

    shown = [row.arguments for row in processes.take_rows() if isinstance(row, StartRow)]

    assert len(shown) == 3
    assert all(secret.decode() not in argument for found in shown for argument in found)


def test_bytes_that_are_not_utf_8_are_spelled_out() -> None:
    processes = known_parent()
    run(processes, 6, b"caf\xe9", **PARENT)

    row = processes.take_rows()[-1]

    assert isinstance(row, StartRow)
    assert row.arguments == ("caf\\xe9",)


def test_an_ended_process_is_remembered_until_its_last_counts_have_come() -> None:
    processes = known_parent()
    fork(processes)
    run(processes, 6)
    run(processes, 7)
    processes.on_exit(event(Kind.EXIT, exec_id=7, **CHILD))

    early = processes.forget_ended(NOW_NS + 19 * SECOND_NS, NOW_NS + 18 * SECOND_NS)
    behind = processes.forget_ended(NOW_NS + 60 * SECOND_NS, NOW_NS + SECOND_NS)
    known = processes.key(200, 2_000, 7)
    late = processes.forget_ended(NOW_NS + 21 * SECOND_NS, NOW_NS + 21 * SECOND_NS)

    assert (early, behind, known) == ([], [], ProcessKey(200, 2_000, 1))
    assert late == [ProcessKey(200, 2_000, 0), ProcessKey(200, 2_000, 1)]
    assert (processes.key(200, 2_000, 7), len(processes)) == (None, 1)


def test_of_a_flood_of_processes_only_the_newest_are_remembered() -> None:
    """What has settled is of no use to anybody; what has not is kept however many there are."""
    processes = known_parent()
    for tgid in range(1_000, 11_000):
        fork(processes, tgid=tgid)
        processes.on_exit(event(Kind.EXIT, tgid=tgid, start_ns=2_000))
    before = len(processes)
    processes.forget_ended(NOW_NS + SECOND_NS, NOW_NS + SECOND_NS)
    unsettled = len(processes)
    processes.forget_ended(NOW_NS + 4 * SECOND_NS, NOW_NS + 4 * SECOND_NS)

    assert (before, unsettled, len(processes)) == (10_001, 10_001, 1_001)


def test_rows_are_counted_before_they_are_taken() -> None:
    processes = known_parent()
    fork(processes)
    before = processes.waiting

    assert (before, len(processes.take_rows()), processes.waiting) == (2, 2, 0)
