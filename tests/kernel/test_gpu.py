"""The real GPU programs over stand-in nodes: a hold begins and ends with the open file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.witness import Witness

from whenced.gpu_devices import nodes_of, parse_stand_in
from whenced.gpu_loader import GpuProbe
from whenced.gpu_record import GpuEvent, GpuKind
from whenced.libbpf import Libbpf

pytestmark = pytest.mark.kernel
JOBS = Path(__file__).with_name("gpu_jobs.py")
UUID = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
# Open character devices of every kernel: random plays UVM, zero a node that can be mapped.
STAND_INS = ("1:8 uvm", "1:5 gpu GPU-zero Zero")
TICK_NS = 10_000_000
SLACK_NS = 60_000_000  # between the program's own mark and the kernel's, on a busy machine

Job = Callable[[str], tuple[list[GpuEvent], int | None]]


@pytest.fixture
def probe(witness: Witness) -> Iterator[GpuProbe]:
    """Load the GPU programs beside the session's capture."""
    nodes = nodes_of("", [parse_stand_in(each) for each in STAND_INS])
    with GpuProbe(Libbpf(), witness.kernel, nodes, count_failed=True) as loaded:
        yield loaded


@pytest.fixture
def job(probe: GpuProbe, witness: Witness, place: Path) -> Job:
    """Run one behaviour to its end; return what was seen, and the program's own mark."""
    for name, minor in (("uvm", 8), ("zero", 5)):
        os.mknod(place / name, 0o20666, os.makedev(1, minor))
        (place / name).chmod(0o666)

    def run(behaviour: str) -> tuple[list[GpuEvent], int | None]:
        with witness.scope.start([sys.executable, "-S", str(JOBS), behaviour], place) as process:
            output, complaints = process.communicate(timeout=60)
        assert not complaints
        witness.await_empty()
        marks = [int(line.split()[1]) for line in output.splitlines() if line.startswith("mark")]
        return _until_released(probe), marks[-1] if marks else None

    return run


def _until_released(probe: GpuProbe) -> list[GpuEvent]:
    """Drain until as many files were released as were opened: what a tick finds comes late."""
    events = probe.drain()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        kinds = [event.kind for event in events]
        if kinds.count(GpuKind.OPENED) == kinds.count(GpuKind.RELEASED):
            break
        time.sleep(0.05)
        events += probe.drain()
    return events


def of(events: list[GpuEvent], kind: GpuKind) -> list[GpuEvent]:
    """Return the events of one kind."""
    return [event for event in events if event.kind == kind]


@pytest.mark.parametrize(
    "behaviour",
    [
        "close_it", "exit_without_close", "killed", "dup_then_close", "dup2_over", "close_on_exec",
        "close_range", "openat2", "renamed", "fork_outlives",
    ],
)  # fmt: skip
def test_the_last_reference_is_seen_going_at_its_moment(job: Job, behaviour: str) -> None:
    """One file: opened, registered, released once, exactly, whatever let go of it."""
    events, mark_ns = job(behaviour)
    (opened,) = of(events, GpuKind.OPENED)
    (registered,) = of(events, GpuKind.REGISTERED)
    (released,) = of(events, GpuKind.RELEASED)

    assert registered.uuid == UUID
    assert {(each.file, each.since_ns) for each in (opened, registered, released)} == {
        (opened.file, opened.at_ns)
    }
    assert released.uncertainty_ns == 0
    assert mark_ns is not None
    assert abs(released.at_ns - mark_ns) < SLACK_NS


def test_a_descriptor_on_its_way_through_a_socket_keeps_the_hold(job: Job) -> None:
    """The receiver closes a number that nobody saw it open: a tick finds the release."""
    events, mark_ns = job("passed_on")
    (released,) = of(events, GpuKind.RELEASED)

    assert mark_ns is not None
    assert abs(released.at_ns - mark_ns) < released.uncertainty_ns + SLACK_NS


def test_a_mapping_keeps_the_file_and_a_tick_finds_its_end(job: Job) -> None:
    events, mark_ns = job("mapped")
    (released,) = of(events, GpuKind.RELEASED)

    assert mark_ns is not None
    assert released.uncertainty_ns == TICK_NS
    assert abs(released.at_ns - mark_ns) < TICK_NS + SLACK_NS


@pytest.mark.parametrize("behaviour", ["exec_keeps", "reparented"])
def test_whoever_inherits_keeps_the_hold(job: Job, behaviour: str) -> None:
    """The hold lives until the last one that inherited it ends."""
    events, _ = job(behaviour)
    (registered,) = of(events, GpuKind.REGISTERED)
    (released,) = of(events, GpuKind.RELEASED)

    assert released.at_ns - registered.at_ns > 150_000_000


def test_every_file_of_many_threads_is_told_apart(job: Job) -> None:
    """Struct files are used again at once: each life is one."""
    events, _ = job("threads")
    lives = [{(each.file, each.since_ns) for each in of(events, kind)}
             for kind in (GpuKind.OPENED, GpuKind.REGISTERED, GpuKind.RELEASED)]  # fmt: skip

    assert [len(each) for each in lives] == [100, 100, 100]
    assert lives[0] == lives[1] == lives[2]


def test_a_walk_names_every_process_that_has_the_file(
    probe: GpuProbe, witness: Witness, place: Path
) -> None:
    """A fork gives its file a second holder, found although no call of its own was seen."""
    os.mknod(place / "uvm", 0o20666, os.makedev(1, 8))
    code = "import os,time\nos.open('uvm', os.O_RDWR)\nos.fork()\ntime.sleep(30)"
    with witness.scope.start([sys.executable, "-S", "-c", code], place) as process:
        holders: set[int] = set()
        deadline = time.monotonic() + 20
        while len(holders) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            holders = {each.process.tgid for each in of(probe.walk(), GpuKind.SEEN)}
        process.kill()
        (witness.scope.directory / "cgroup.kill").write_text("1")
    witness.await_empty()

    assert len(holders) == 2
    assert process.pid in holders


def test_what_is_outside_the_scope_is_not_seen(probe: GpuProbe) -> None:
    with Path("/dev/urandom").open("rb"), Path("/dev/random").open("rb"):
        assert probe.drain() == []
