"""What the kernel side tried to say against what arrived: equal, or the difference is known."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from tests.kernel.witness import Witness, watching
from tests.kernel.workload import Workloads
from tests.scope import Scope

from whenced import plan
from whenced.balance import Walk
from whenced.losses import Ledger
from whenced.record import CLASSES
from whenced.rows import AccessRow, EnvironmentRow

pytestmark = pytest.mark.kernel
_SWAP_S = 0.02
_RECORD_CLASSES = ("life", "touch", "name")


def no_drain() -> None:
    """A reader that stands still."""


def sequence_gaps(witness: Witness) -> int:
    """Numbers that are missing in the records of each CPU, from the first on."""
    rows = np.concatenate(witness.records)
    gaps = 0
    for cpu in np.unique(rows["cpu"]):
        numbers = rows["sequence"][rows["cpu"] == cpu]

        assert (np.diff(numbers.astype(np.int64)) > 0).all()
        gaps += int(numbers[-1]) - len(numbers)
    return gaps


def conserved(witness: Witness) -> dict[str, tuple[int, int, int]]:
    """Return the counts of a kernel side that lost nothing of what the witness received."""
    received = witness.received
    return {name: (received[name], received[name], 0) for name in witness.kernel.counts()}


def test_everything_that_was_tried_arrived(group: Scope, workloads: Workloads, place: Path) -> None:
    """For each class attempted == stored == received, and no number is missing."""
    (place / "data").write_bytes(bytes(100))
    with watching(group) as witness:
        for command in (
            workloads.command("floods", "files", "3000"),
            workloads.command("names", "folder"),
            workloads.command("waits", "family"),
        ):
            process = group.start(command, place)
            if command[-1] == "family":
                assert process.stdout is not None
                process.stdout.readline()
                process.send_signal(10)
            witness.follow(process, place)

        assert witness.kernel.counts() == conserved(witness)
        assert min(witness.received[name] for name in witness.kernel.counts()) > 0
        assert sequence_gaps(witness) == 0


def test_a_full_ring_says_how_much_it_lost(group: Scope, workloads: Workloads, place: Path) -> None:
    """A stopped reader: the missing numbers are exactly the records counted as lost."""
    flood = ["taskset", "-c", "0", *workloads.command("floods", "files", "2000")]
    with watching(group, ring_bytes=1 << 16) as witness:
        ledger = Ledger(0)
        witness.follow(group.start(flood, place), place, step=no_drain)
        witness.follow(group.start(["taskset", "-c", "0", "true"], place), place)
        counts = witness.kernel.counts()
        lost = sum(counts[name][2] for name in _RECORD_CLASSES)
        received = sum(witness.received[name] for name in _RECORD_CLASSES)
        told = {row.record_class: row.lost for row in ledger.rows(counts, 0, last=True) if row.lost}

        assert lost > 1000
        assert sum(counts[name][0] for name in _RECORD_CLASSES) == received + lost
        assert sequence_gaps(witness) == lost
        assert told == {name: counts[name][2] for name in counts if counts[name][2]}


def test_a_flood_of_touches_leaves_the_life_of_processes_whole(
    group: Scope, workloads: Workloads, place: Path
) -> None:
    """A stopped reader and a full ring of touches: births, programs and ends lose nothing."""
    with watching(group, ring_bytes=1 << 16, text_bytes=1 << 16) as witness:
        flood = group.start(workloads.command("floods", "files", "2000"), place)
        storm = group.start(workloads.command("storms", "programs", "1500", "0"), place)
        witness.follow(flood, place, step=no_drain)
        witness.follow(storm, place, step=no_drain)
        counts = witness.kernel.counts()
        received = witness.received["life"]

        assert counts["touch"][2] > 1000
        # three records for each program; the two that were started here were born outside
        assert counts["life"] == (received, received, 0)
        assert received == 3 * 1500 + 2 * 2


def test_a_loss_has_the_name_of_its_process(
    group: Scope, workloads: Workloads, place: Path
) -> None:
    """The rings are full while one process works; another, before, lost nothing."""
    with watching(group, ring_bytes=1 << 16) as witness:
        witness.follow(group.start(["true"], place), place)
        flood = group.start(workloads.command("floods", "files", "2000"), place)
        witness.follow(flood, place, step=no_drain)
        processes, losers = witness.kernel.take_losers()
        lost = {name: count[2] for name, count in witness.kernel.counts().items()}
        again, _ = witness.kernel.take_losers()

        assert set(processes["process_tgid"].tolist()) == {flood.pid}
        assert dict(zip(CLASSES, losers["lost"].sum(0).tolist(), strict=True)) == lost
        assert lost["touch"] > 1000
        assert len(again) == 0


def test_a_walk_finds_who_lives(group: Scope, workloads: Workloads, place: Path) -> None:
    """Processes of the scope are marked; everybody else is only found alive; the dead are not."""
    for name in ("data", "out", "idle"):
        (place / name).write_bytes(bytes(100))
    with watching(group) as witness:
        process = group.start(workloads.command("waits", "family"), place)
        assert process.stdout is not None
        process.stdout.readline()
        walk = Walk.of(0, witness.kernel.alive())
        members = {int(each) for each in (group.directory / "cgroup.procs").read_text().split()}
        process.send_signal(10)
        witness.follow(process, place)
        later = Walk.of(0, witness.kernel.alive())

        assert {tgid for tgid, _ in walk.in_scope} == members
        assert process.pid in members
        assert os.getpid() in {tgid for tgid, _ in walk.alive}
        assert members & {tgid for tgid, _ in later.alive} == set()


def test_no_program_was_skipped(witness: Witness) -> None:
    """The kernel counts for every attached program how often it was left out."""
    assert witness.kernel.recursion_misses() == dict.fromkeys(plan.PROGRAMS, 0)


def test_a_full_text_ring_keeps_identities(group: Scope, workloads: Workloads, place: Path) -> None:
    """Names are lost and counted; each file is still there."""
    with watching(group, text_bytes=1 << 16) as witness:
        command = workloads.command("floods", "long_names", "2000")
        seen = witness.follow(group.start(command, place), place, step=no_drain)
        attempted, stored, lost = witness.kernel.counts()["text"]
        inodes = {row.file.inode for row in seen.of(AccessRow)}

        assert lost > 1000
        assert (attempted, stored) == (witness.received["text"] + lost, witness.received["text"])
        assert {path.stat().st_ino for path in place.iterdir()} <= inodes


def test_names_of_one_directory_share_its_text(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """A name in a record, its directory once: a flood needs next to no texts."""
    before = witness.kernel.counts()["text"][0]
    seen = witness.run(workloads.command("floods", "files", "2000"), place)
    texts = witness.kernel.counts()["text"][0] - before

    assert len(seen.edges()) == 2000
    assert texts < 100


def test_counts_stay_exact_while_the_table_is_swapped(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """2,000,000 reads by two threads, the table retired every 20 ms: none is lost or doubled."""
    (place / "data").write_bytes(b"content")
    witness.forget()
    command = workloads.command("floods", "shared_reads", "1000000")

    def swap_often() -> None:
        witness.drain()
        witness.swap()
        time.sleep(_SWAP_S)

    seen = witness.follow(witness.scope.start(command, place), place, step=swap_often)
    inode = (place / "data").stat().st_ino
    counted = sum(
        int(uses["read_ops"][keys["file_inode"] == inode].sum()) for keys, uses in witness.uses
    )

    assert counted == 2_000_000
    assert seen.edges() == ["read data"]
    assert (seen.use("read", "data").ops, seen.use("read", "data").bytes) == (2_000_000, 2_000_000)
    assert witness.kernel.counts()["aggregate"] == conserved(witness)["aggregate"]


def test_programs_with_one_environment_share_its_text(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """Each tells its path, folder and arguments; who has another environment tells that."""
    before = witness.kernel.counts()["text"][0]
    shared = witness.run(workloads.command("storms", "programs", "300", "0"), place)
    texts = witness.kernel.counts()["text"][0] - before
    command = "PYTHONHASHSEED=1 /bin/true; PYTHONHASHSEED=22 /bin/true"
    told = witness.run(["bash", "-c", command], place)
    seeds = [dict(row.variables).get("PYTHONHASHSEED") for row in told.of(EnvironmentRow)]

    assert 3 * 300 <= texts < 3 * 300 + 20
    assert len(shared.of(EnvironmentRow)) == 1
    assert [seed for seed in seeds if seed] == ["1", "22"]
