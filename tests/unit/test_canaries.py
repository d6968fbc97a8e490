"""The canary at its other end: whether it arrived, what it lacks, how old it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.traced import SECOND_NS, Machine

from whence_collector.canaries import (
    CHANGES,
    EXPECTED,
    OPS,
    Arrived,
    CanaryWatch,
    arrived,
    trouble,
)
from whence_collector.derive import Deriver
from whence_collector.metrics import Metrics
from whence_collector.presence import Presence
from whence_collector.store import Store
from whenced import canary

DO = {name: number for number, name in OPS.items()}
CHANGE = {name: number for number, name in reversed(CHANGES.items())}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    store = Store(tmp_path / "whence.duckdb")
    yield Machine(store, Deriver)
    store.close()


def fly(machine: Machine, *left_out: tuple[str, str]) -> int:
    """Let a canary do what it does, but for some edges; return when it began."""
    host = machine.host
    bird = host.spawn(None, "python3", "canary.py", "/c/t", "whence-canary:t")
    for version, (op, leaf) in enumerate(sorted(EXPECTED - set(left_out)), start=1):
        path = f"/c/t/{leaf}"
        if op in DO:
            host.touch(bird, DO[op], version, path)
        else:
            host._name(bird, CHANGE[op], path, "/c/t/new", version)
    host.end(bird)
    machine.deliver()
    return bird.at_unix_ns


def look(machine: Machine, after_s: int = 20) -> dict[int, Arrived]:
    """Look so long after the host's last event."""
    with machine.store.cursor() as reader:
        return arrived(reader, machine.host.now_ns + after_s * SECOND_NS)


def test_both_ends_expect_the_same() -> None:
    expected = {(edge["op"], edge["path"].rpartition("/")[2]) for edge in canary.expected(Path())}

    assert expected == EXPECTED


def test_a_canary_that_arrived_whole(machine: Machine) -> None:
    fly(machine)

    (found,) = look(machine).values()

    assert found.missing == ()
    assert trouble(found, machine.host.now_ns + 60 * SECOND_NS) is None


def test_edges_that_are_no_rows_are_named(machine: Machine) -> None:
    fly(machine, ("read", "first"), ("link", "third"))

    (found,) = look(machine).values()

    assert trouble(found, machine.host.now_ns) == "the last canary lacks link third, read first"


def test_the_newest_counts_and_one_under_way_does_not(machine: Machine) -> None:
    fly(machine, ("read", "first"))
    machine.host.now_ns += 60 * SECOND_NS
    fly(machine)

    assert [each.missing for each in look(machine).values()] == [()]
    assert [each.missing for each in look(machine, after_s=1).values()] == [("read first",)]


def test_a_late_canary_is_trouble() -> None:
    words = trouble(Arrived(0, ()), 181 * SECOND_NS)

    assert words == "the last canary that arrived is 181 s old"
    assert trouble(None, 1) is None


def test_only_a_connected_host_owes_a_canary(machine: Machine) -> None:
    metrics, presence = Metrics(), Presence()
    watch = CanaryWatch(machine.store, presence, metrics, lambda: 1_000 * SECOND_NS)
    late = {1: Arrived(0, ())}

    def failing() -> float | None:
        return metrics.registry.get_sample_value("whence_collector_canary_failing", {"host": "a"})

    watch.note(late, {1: "a"})
    away = failing()
    with presence.stream(1):
        watch.note(late, {1: "a"})

    assert (away, failing()) == (0.0, 1.0)
