"""A time that nobody observed: what ends in it, what it marks, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.traced import Host, Machine

from whence_collector.derive import Deriver
from whence_collector.resolved import AccountRow, LossRow
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2 as wire

BEGAN, WALKED, TOLD, ENDED = (
    wire.CAPTURE_MARK_BEGAN,
    wire.CAPTURE_MARK_WALKED,
    wire.CAPTURE_MARK_TOLD,
    wire.CAPTURE_MARK_ENDED,
)
STOPPED = "the daemon was stopped"
DIED = "the daemon died, and what it had not delivered with it"
DOWN = "the host went down"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    store = Store(tmp_path / "whence.duckdb")
    yield Machine(store, Deriver)
    store.close()


def begin(host: Host) -> None:
    """The first capture, which finds nothing."""
    host.mark(BEGAN)
    host.mark(WALKED)


def stop(host: Host) -> None:
    """The daemon is told to stop."""
    host.mark(TOLD)
    host.mark(ENDED)


def begin_again(host: Host, *alive: Any, boot_id: int = 1) -> None:
    """Another capture begins, three seconds later."""
    host.now_ns += 3_000_000_000
    host.capture_id += 1
    host.boot_id = boot_id
    host.mark(BEGAN)
    host.mark(WALKED, *alive)


def runs(machine: Machine) -> dict[str, tuple[str, int | None, bool]]:
    """Return (status, exit code, complete) by command."""
    rows = machine.rows("SELECT command, status, exit_code, complete FROM runs")
    return {command: tuple(rest) for command, *rest in rows}


def reason(machine: Machine, command: str) -> str:
    """Return why a run is incomplete."""
    ((found,),) = machine.rows("SELECT incomplete_reason FROM runs WHERE command = ?", (command,))
    return str(found)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_run_that_ended_unobserved_has_no_known_end(
    machine: Machine, clean: bool, restarted: bool
) -> None:
    host = machine.host
    begin(host)
    before = host.spawn(None, "make", "before")
    host.end(before)
    train = host.spawn(None, "train")
    last_told_ns = host.mark(TOLD)
    if clean:
        stop(host)
    machine.deliver()
    if restarted:
        machine.restart()
    begin_again(host)
    host.end(host.spawn(None, "make", "after"))
    machine.deliver()

    assert runs(machine) == {
        "make before": ("succeeded", 0, True),
        "train": ("unknown", None, False),
        "make after": ("succeeded", 0, True),
    }
    why = reason(machine, "train")
    assert (STOPPED if clean else DIED) in why
    assert why.endswith("nobody saw how it ended")
    assert "not observed for 3.0 s, from 20" in why
    ((ended_ns, unobserved_ns),) = machine.rows(
        "SELECT ended_ns, unobserved_ns FROM run WHERE command = 'train'"
    )
    assert ended_ns >= last_told_ns
    assert 3_000_000_000 < unobserved_ns < 3_100_000_000
    assert machine.rows("SELECT exit_code, exit_signal FROM process_end WHERE process_id = ?",
                        (train.process_id,)) == [(None, None)]  # fmt: skip


@pytest.mark.parametrize("restarted", [True, False])
def test_a_run_that_lived_through_it_goes_on_and_is_incomplete(
    machine: Machine, restarted: bool
) -> None:
    host = machine.host
    begin(host)
    train = host.spawn(None, "train")
    stop(host)
    machine.deliver()
    if restarted:
        machine.restart()
    begin_again(host, train)
    machine.deliver()
    while_it_runs = runs(machine)
    host.end(train)
    machine.deliver()

    assert while_it_runs == {"train": ("running", None, False)}
    assert runs(machine) == {"train": ("succeeded", 0, False)}
    assert "nobody saw" not in reason(machine, "train")


def test_the_first_capture_of_a_host_has_no_gap_before_it(machine: Machine) -> None:
    host = machine.host
    begin(host)
    host.end(host.spawn(None, "train"))
    machine.deliver()

    assert runs(machine) == {"train": ("succeeded", 0, True)}
    assert machine.rows("SELECT * FROM unobserved_times") == []


@pytest.mark.parametrize("restarted", [True, False])
def test_a_new_boot_ends_what_the_old_one_ran(machine: Machine, restarted: bool) -> None:
    host = machine.host
    begin(host)
    train = host.spawn(None, "train")
    machine.deliver()
    if restarted:
        machine.restart()
    begin_again(host, train, boot_id=2)  # the same numbers are another process there
    machine.deliver()

    assert runs(machine) == {"train": ("unknown", None, False)}
    assert DOWN in reason(machine, "train")


def test_a_later_walk_ends_what_is_gone_without_a_gap(machine: Machine) -> None:
    host = machine.host
    begin(host)
    lost, kept = host.spawn(None, "lost"), host.spawn(None, "kept")
    host.mark(WALKED, kept)
    host.losses.append(
        LossRow(1, "life", 0, 0, 1, "its end", host.now_ns, host.now_ns, lost.process_id)
    )
    machine.deliver()

    assert runs(machine) == {
        "lost": ("unknown", None, False),
        "kept": ("running", None, True),
    }
    assert machine.rows("SELECT * FROM unobserved_times") == []


def test_what_began_after_the_walk_is_not_ended_by_it(machine: Machine) -> None:
    host = machine.host
    begin(host)
    host.spawn(None, "early")
    stop(host)
    machine.deliver()
    begin_again(host)
    host.spawn(None, "later")
    machine.deliver()

    assert runs(machine)["later"] == ("running", None, True)


def test_a_loss_with_a_name_on_it_marks_that_run_alone(machine: Machine) -> None:
    host = machine.host
    one, other = host.spawn(None, "one"), host.spawn(None, "other")
    machine.deliver()
    at_ns = host.now_ns
    host.losses.append(LossRow(1, "touch", 0, 0, 4, "ring full", 0, at_ns, one.process_id))
    host.losses.append(LossRow(1, "text", 0, 0, 2, "text full", 0, at_ns, one.process_id))
    host.end(one, other)
    machine.deliver()

    assert runs(machine) == {"one": ("succeeded", 0, False), "other": ("succeeded", 0, True)}
    assert machine.rows("SELECT lost_records FROM run ORDER BY command") == [(6,), (None,)]
    assert machine.rows("SELECT DISTINCT r.command FROM losses JOIN runs r USING (run_id)") == [
        ("one",)
    ]


def test_a_loss_with_a_name_finds_its_run_after_a_restart(machine: Machine) -> None:
    host = machine.host
    one, other = host.spawn(None, "one"), host.spawn(None, "other")
    host.end(one, other)
    machine.deliver()
    machine.restart()
    host.losses.append(LossRow(1, "touch", 0, 0, 4, "ring full", 0, 1, one.process_id))
    machine.deliver()

    assert runs(machine) == {"one": ("succeeded", 0, False), "other": ("succeeded", 0, True)}


def account(process_id: int, **numbers: int) -> AccountRow:
    values = {"read_bytes": 0, "written_bytes": 0, "read_seen_bytes": 0, "written_seen_bytes": 0}
    return AccountRow(
        process_id=process_id, at_unix_ns=1, read_calls=0, written_calls=0, allowed_bytes=49_152,
        **(values | numbers),
    )  # fmt: skip


def test_what_the_kernel_accounts_and_nobody_saw_makes_a_run_incomplete(machine: Machine) -> None:
    host = machine.host
    one, other = host.spawn(None, "one"), host.spawn(None, "other")
    host.accounts.append(account(one.process_id, read_bytes=10_000_000, read_seen_bytes=4_000_000))
    host.accounts.append(
        account(other.process_id, read_bytes=10_040_000, read_seen_bytes=10_000_000,
                written_bytes=1024, written_seen_bytes=2000)
    )  # fmt: skip
    host.end(one, other)
    machine.deliver()

    assert runs(machine) == {"one": ("succeeded", 0, False), "other": ("succeeded", 0, True)}
    assert reason(machine, "one") == (
        "5,950,848 of 10,000,000 bytes that the kernel accounts to it were not seen"
    )
    assert machine.rows(
        "SELECT accounted_bytes, seen_bytes, round(seen_share, 3), lacking_bytes FROM run_proofs "
        "ORDER BY accounted_bytes"
    ) == [(10_000_000, 4_000_000, 0.4, 5_950_848), (10_041_024, 10_001_024, 0.996, None)]


def test_a_surplus_one_way_hides_nothing_the_other_way(machine: Machine) -> None:
    host = machine.host
    one = host.spawn(None, "one")
    host.accounts.append(
        account(one.process_id, read_bytes=10_000_000, read_seen_bytes=4_000_000,
                written_bytes=0, written_seen_bytes=9_000_000)
    )  # fmt: skip
    host.end(one)
    machine.deliver()

    assert runs(machine) == {"one": ("succeeded", 0, False)}
