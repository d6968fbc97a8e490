"""Beginnings and ends of processes: each exactly once, with code or signal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.kernel.seen import Run, Seen
from tests.kernel.witness import Witness

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import EndRow, StartRow

pytestmark = pytest.mark.kernel


def forks(seen: Seen) -> list[StartRow]:
    """Return the rows of processes that were forked and ran no other program."""
    return [row for row in seen.of(StartRow) if row.origin == wire.PROCESS_ORIGIN_FORK]


def end_of(seen: Seen, tgid: int) -> list[tuple[int, int]]:
    """Return (code, signal) of each end of a process."""
    ends = seen.of(EndRow)
    return [(row.exit_code, row.exit_signal) for row in ends if row.process.tgid == tgid]


@pytest.mark.parametrize("code", [0, 1, 255])
def test_exit_codes(run: Run, code: int) -> None:
    """What wait(2) would say."""
    seen = run("lives", "code", str(code))

    assert end_of(seen, int(seen.output)) == [(code, 0)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_ends_by_signal(run: Run, number: int) -> None:
    """The signal, and no code."""
    seen = run("lives", "by_signal", str(int(number)))

    assert end_of(seen, int(seen.output)) == [(0, number)]


def test_threads_are_not_processes(run: Run) -> None:
    """20 threads: one process, one end."""
    seen = run("lives", "threads")

    assert forks(seen) == []
    assert len(seen.of(EndRow)) == 1


def test_a_process_ends_with_its_last_thread(run: Run, place: Path) -> None:
    """The leader ends first; the other thread reads, and its exit code counts."""
    (place / "data").write_bytes(b"content")

    seen = run("lives", "leader_first")

    assert end_of(seen, int(seen.output)) == [(7, 0)]
    assert seen.users() == {"read data": {int(seen.output)}}


def test_a_detached_process_keeps_its_ancestry(run: Run) -> None:
    """Double fork and setsid: its write is seen, and its line leads to the start."""
    seen = run("lives", "detached")
    (writer,) = seen.users()["write out"]
    parents = {row.process.tgid: row.parent.tgid for row in seen.of(StartRow) if row.parent}
    (root,) = [
        row.process.tgid for row in seen.of(StartRow) if row.origin == wire.PROCESS_ORIGIN_EXEC
    ]

    assert parents[parents[writer]] == root
    assert len(seen.of(EndRow)) == 3
    assert seen.edges() == ["write out"]


def test_ten_thousand_short_processes(run: Run, witness: Witness) -> None:
    """As many beginnings as ends; none is lost."""
    lost_before = sum(lost for _, _, lost in witness.kernel.counts().values())
    seen = run("lives", "many", "10000")

    assert len(forks(seen)) == 10_000
    assert {row.process for row in forks(seen)} < {row.process for row in seen.of(EndRow)}
    assert len(seen.of(EndRow)) == 10_001
    assert sum(lost for _, _, lost in witness.kernel.counts().values()) == lost_before
