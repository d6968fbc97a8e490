"""What ran before capture began, and what is left out of it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.kernel.seen import Seen
from tests.kernel.witness import Witness, watching
from tests.kernel.workload import Workloads
from tests.scope import Scope

from whence_proto.v1 import ingest_pb2 as wire
from whenced import plan
from whenced.rows import StartRow

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def files(place: Path) -> None:
    """What the workloads read and write."""
    for name in ("data", "out", "idle"):
        (place / name).write_bytes(bytes(100))


def ready(scope: Scope, command: list[str], place: Path) -> subprocess.Popen[str]:
    """Start a workload and return when it waits for its signal."""
    process = scope.start(command, place)

    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finished(witness: Witness, process: subprocess.Popen[str], place: Path) -> Seen:
    """Let a waiting workload go on to its end."""
    os.kill(process.pid, signal.SIGUSR1)
    return witness.follow(process, place)


def test_what_was_open_before(group: Scope, workloads: Workloads, place: Path) -> None:
    """A snapshot: the program, the file open for reading; a writable one has not written."""
    command = workloads.command("waits", "open_before")
    process = ready(group, command, place)
    with watching(group) as witness:
        witness.kernel.walk(plan.ITERATORS)
        before = witness.see(place)
        after = finished(witness, process, place)
    (row,) = before.of(StartRow)

    assert (row.process.tgid, row.origin) == (process.pid, wire.PROCESS_ORIGIN_SNAPSHOT)
    assert (row.exe, row.arguments, row.cwd) == (command[0], tuple(command), str(place))
    assert before.edges() == ["read data"]
    assert before.use("read", "data").flags == wire.ACCESS_FLAG_SNAPSHOT
    assert after.edges() == ["read data", "write out"]
    assert (after.use("read", "data").ops, after.use("write", "out").ops) == (1, 1)
    assert after.of(StartRow) == []


def test_what_was_mapped_before(group: Scope, workloads: Workloads, place: Path) -> None:
    """Mappings without a descriptor: one that is read, one that is written after the start."""
    for name in ("data", "out"):
        (place / name).write_bytes(bytes(4096))
    process = ready(group, workloads.command("waits", "mapped_before"), place)
    with watching(group) as witness:
        witness.kernel.walk(plan.ITERATORS)
        before = witness.see(place)
        after = finished(witness, process, place)

    assert before.edges() == ["map data", "map out"]
    assert before.use("map", "data").flags == wire.ACCESS_FLAG_SNAPSHOT
    assert after.edges() == ["write out"]


def test_other_groups_are_not_in_the_snapshot(group: Scope) -> None:
    """The test itself runs outside the scope: the walk finds nothing."""
    with watching(group) as witness:
        witness.kernel.walk(plan.ITERATORS)

        assert witness.see(Path("/")).rows == []


def test_an_excluded_process_and_its_children_leave_nothing(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """From the mark on: no edge, no fork, no end."""
    process = ready(witness.scope, workloads.command("waits", "family"), place)
    witness.kernel.exclude(process.pid)
    witness.forget()

    assert finished(witness, process, place).rows == []


def test_the_same_workload_is_seen_without_the_mark(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """The test above can fail."""
    process = ready(witness.scope, workloads.command("waits", "family"), place)
    witness.forget()

    assert finished(witness, process, place).edges() == [
        "read data",
        "rename child -> child.new",
        "rename parent -> parent.new",
        "write child",
        "write parent",
    ]
