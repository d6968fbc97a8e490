"""exec: the program, its arguments as they were, its executable; one row for each success."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.kernel.seen import Run, Seen
from tests.kernel.workload import Workloads

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import AccessRow, EndRow, StartRow

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def programs(place: Path) -> None:
    """Things to run, and things that cannot be run."""
    shutil.copy("/bin/true", place / "target")
    (place / "script").write_text("#!/bin/sh\nexit 0\n")
    (place / "garbage").write_bytes(b"\x00\x01\x02\x03")
    (place / "plain").write_text("not executable")
    for name in ("script", "garbage"):
        (place / name).chmod(0o755)


def executed(seen: Seen, exe: str) -> list[StartRow]:
    """Return the rows of programs with that executable."""
    rows = seen.of(StartRow)
    return [row for row in rows if row.exe == exe and row.origin == wire.PROCESS_ORIGIN_EXEC]


def test_arguments_are_kept_byte_for_byte(run: Run, place: Path) -> None:
    """Empty ones, line ends, bytes that are no text (written as the wire says)."""
    seen = run("programs", "odd_arguments")
    (row,) = executed(seen, f"{place}/target")

    assert row.arguments == ("", "", "two\nlines", "tab\t", "\\xff\\xfe", "")
    assert not row.arguments_truncated
    assert (row.cwd, row.command_name) == (str(place), "target")
    assert seen.edges() == ["execute target"]


def test_a_long_argument_is_whole(run: Run, place: Path) -> None:
    """100,000 bytes in one argument."""
    seen = run("programs", "long_argument", "100000")
    (row,) = executed(seen, f"{place}/target")

    assert row.arguments == ("target", "a" * 100_000)
    assert not row.arguments_truncated


def test_arguments_beyond_the_limit_are_cut_and_say_so(run: Run, place: Path) -> None:
    """30 arguments of 10,000 bytes: a prefix, with the mark."""
    words = [f"{number:02}" * 5000 for number in range(30)]
    seen = run("programs", "passed_on", *words)
    (row,) = executed(seen, f"{place}/target")
    given = "\0".join(["passed_on", *words])

    assert row.arguments_truncated
    assert "\0".join(row.arguments) == given[: 16 * 8192]


def test_arguments_are_those_of_the_start(run: Run, workloads: Workloads) -> None:
    """A program that overwrites its arguments and renames itself hides nothing."""
    command = workloads.command("programs", "rewritten", "original")
    seen = run("programs", "rewritten", "original")
    (row,) = executed(seen, command[0])

    assert row.arguments == tuple(command)
    assert row.command_name == "programs"


def test_a_script_names_interpreter_and_script(run: Run, place: Path) -> None:
    """The executable is the interpreter's; the script is an input that it reads."""
    seen = run("programs", "script")
    (row,) = executed(seen, str(Path("/bin/sh").resolve()))

    assert row.script == "./script"
    assert row.arguments == ("/bin/sh", "./script", "word")
    assert seen.edges() == ["read script"]


def test_an_exec_by_a_second_thread_is_of_the_process(run: Run, place: Path) -> None:
    """The thread takes the leader's place: same process, next image, one end."""
    seen = run("programs", "thread")
    (row,) = executed(seen, f"{place}/target")
    first = seen.of(StartRow)[0].process.image
    ends = [(end.process.image - first, end.replaced) for end in seen.of(EndRow)]

    assert row.arguments == ("target", "from a thread")
    assert row.process.image - first == 1
    assert ends == [(0, True), (1, False)]
    assert len({end.process.tgid for end in seen.of(EndRow)}) == 1


def test_a_program_in_memory_keeps_its_content_chain(run: Run) -> None:
    """A program is read into a memory file, which is executed: one file, nameless."""
    seen = run("programs", "in_memory")
    (row,) = executed(seen, "/memfd:image")
    chain = {
        (access.op, access.file[:3])
        for access in seen.of(AccessRow)
        if access.flags & wire.ACCESS_FLAG_NAMELESS
    }

    assert row.exe_file is not None
    assert chain == {
        (wire.ACCESS_OP_WRITE, row.exe_file[:3]),
        (wire.ACCESS_OP_EXECUTE, row.exe_file[:3]),
    }
    assert seen.edges() == ["read target"]


@pytest.mark.parametrize(("behaviour", "word"), [("after_vfork", "vfork"), ("spawned", "spawn")])
def test_children_that_borrow_memory(run: Run, place: Path, behaviour: str, word: str) -> None:
    """By vfork and by posix_spawn: each a process of its own, with arguments and parent."""
    seen = run("programs", behaviour)
    (row,) = executed(seen, f"{place}/target")

    assert row.process.tgid == int(seen.output)
    assert row.arguments == ("target", word)
    assert row.parent is not None
    assert row.parent.tgid != row.process.tgid
    assert seen.edges(row.process.tgid) == ["execute target"]


def test_a_failing_exec_is_nothing(run: Run, workloads: Workloads) -> None:
    """Absent, not executable, no known format, a folder: neither a program nor an edge."""
    seen = run("programs", "failing")
    exes = [row.exe for row in seen.of(StartRow)]

    assert exes == [workloads.command("programs")[0]]
    assert seen.edges() == []


def test_each_program_of_a_process_is_an_image(run: Run, workloads: Workloads, place: Path) -> None:
    """Two execs after the first: three programs, the first two replaced."""
    program = workloads.command("programs")[0]
    seen = run("programs", "twice", program)
    # It entered the group alive: its images are its execs, and not counted from its fork.
    first = seen.of(StartRow)[0].process.image
    images = [(row.process.image - first, row.exe) for row in seen.of(StartRow)]
    ends = [(end.process.image - first, end.replaced) for end in seen.of(EndRow)]

    assert images == [(0, program), (1, program), (2, f"{place}/target")]
    assert ends == [(0, True), (1, True), (2, False)]
