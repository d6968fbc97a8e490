"""Every nanosecond of a GPU is given out once, by rules with a name."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from tests.unit.gpu_times import given_out, independent_totals, random_timeline

from whence_collector.attribution import (
    Charge,
    Hold,
    Instance,
    Part,
    Share,
    Timeline,
    Watched,
    attribute,
)

ALL = (Watched(0, 100),)


def parts_of(charges: list[Charge]) -> list[tuple[int, int, str, int | None, int, str]]:
    """Return (from, until, part, process, ns, method) of every part."""
    return [
        (charge.from_ns, charge.until_ns, part.part, part.process_id, part.alloc_ns, part.method)
        for charge in charges
        for part in charge.parts
    ]


def test_one_holder_gets_all_and_the_rest_is_idle_or_unwatched() -> None:
    timeline = Timeline((Watched(10, 60),), (Hold(7, 20, 40),))

    assert parts_of(attribute(timeline, 0, 100)) == [
        (0, 10, "unattributed", None, 10, "unwatched/1"),
        (10, 20, "idle", None, 10, "idle/1"),
        (20, 40, "held", 7, 20, "exclusive/1"),
        (40, 60, "idle", None, 20, "idle/1"),
        (60, 100, "unattributed", None, 40, "unwatched/1"),
    ]


def test_an_orphan_is_charged_to_who_made_it() -> None:
    timeline = Timeline(ALL, (Hold(7, 0, 50), Hold(7, 50, None, orphaned=True)))

    assert parts_of(attribute(timeline, 0, 100)) == [
        (0, 50, "held", 7, 50, "exclusive/1"),
        (50, 100, "orphaned", 7, 50, "exclusive/1"),
    ]


def test_several_files_of_one_process_are_one_holder() -> None:
    timeline = Timeline(ALL, (Hold(7, 0, 100), Hold(7, 10, 90), Hold(7, 0, None, orphaned=True)))

    assert parts_of(attribute(timeline, 0, 100)) == [(0, 100, "held", 7, 100, "exclusive/1")]


def test_several_holders_without_samples_share_equally() -> None:
    timeline = Timeline((Watched(0, 10),), (Hold(1, 0, 10), Hold(2, 0, 10), Hold(3, 0, 10)))

    assert parts_of(attribute(timeline, 0, 10)) == [
        (0, 10, "held", 1, 4, "equal/1"),
        (0, 10, "held", 2, 3, "equal/1"),
        (0, 10, "held", 3, 3, "equal/1"),
    ]


def test_busy_time_goes_by_work_and_idle_time_by_memory() -> None:
    timeline = Timeline(
        (Watched(0, 100, busy_ns=60),),
        (Hold(1, 0, None), Hold(2, 0, None)),
        (Share(1, 0, 100, 200_000, 30), Share(2, 0, 100, 100_000, 10)),
    )

    (charge,) = attribute(timeline, 0, 100)

    assert charge.parts == (
        Part("held", 1, 70, "busy-memory/1", 40),
        Part("held", 2, 30, "busy-memory/1", 20),
    )


def test_memory_alone_decides_where_nobody_counted_work() -> None:
    shares = (Share(1, 0, 100, None, 30), Share(2, 0, 100, None, 10))
    timeline = Timeline(ALL, (Hold(1, 0, None), Hold(2, 0, None)), shares)

    assert parts_of(attribute(timeline, 0, 100)) == [
        (0, 100, "held", 1, 75, "memory/1"),
        (0, 100, "held", 2, 25, "memory/1"),
    ]


def test_sharing_through_mps_is_told_apart_and_its_server_gets_nothing() -> None:
    timeline = Timeline(
        (Watched(0, 100, busy_ns=60),),
        (Hold(9, 0, None, serves=True), Hold(1, 0, 80), Hold(2, 0, 80)),
        (Share(1, 0, 80, 200_000, 30, mps=True), Share(2, 0, 80, 100_000, 10, mps=True)),
    )

    assert parts_of(attribute(timeline, 0, 100)) == [
        (0, 80, "held", 1, 56, "mps-busy-memory/1"),
        (0, 80, "held", 2, 24, "mps-busy-memory/1"),
        (80, 100, "idle", None, 20, "idle/1"),
    ]


def test_a_share_that_is_unknown_of_one_holder_decides_nothing() -> None:
    timeline = Timeline(ALL, (Hold(1, 0, None), Hold(2, 0, None)), (Share(1, 0, 100, 1, 30),))

    assert [part[5] for part in parts_of(attribute(timeline, 0, 100))] == ["equal/1", "equal/1"]


def test_busy_time_of_a_slice_is_exact_over_its_pieces() -> None:
    timeline = Timeline((Watched(0, 100, busy_ns=33),), (Hold(1, 10, 47), Hold(2, 47, 80)))

    charges = attribute(timeline, 0, 100)

    assert sum(part.busy_ns or 0 for charge in charges for part in charge.parts) == 33


def test_instances_have_their_slices_and_the_rest_is_idle() -> None:
    timeline = Timeline(
        (Watched(0, 560),),
        (Hold(1, 0, None, instance="MIG-a"),),
        (),
        (Instance("MIG-a", 3, 4), Instance("MIG-b", 2, 2)),
    )

    assert parts_of(attribute(timeline, 0, 560)) == [
        (0, 560, "held", 1, 280, "mig-slices/1"),
        (0, 560, "idle", None, 280, "mig-slices/1"),
    ]


def test_charges_end_where_they_are_told_to() -> None:
    timeline = Timeline(ALL, (Hold(1, 0, None),))

    charges = attribute(timeline, 0, 100, [40])

    assert [(charge.from_ns, charge.until_ns) for charge in charges] == [(0, 40), (40, 100)]


@pytest.mark.parametrize("seed", range(40))
def test_random_lives_add_up_and_agree_with_a_second_way(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 -- chance, not secrets
    timeline = random_timeline(chance, holds=12, span_ns=chance.choice((50, 10**6, 10**15)))
    begin, end = 3, 10**15 // 2 if seed % 3 == 0 else 40

    charges = attribute(timeline, begin, end, [17])

    assert [charge.from_ns for charge in charges] == [begin, *(c.until_ns for c in charges[:-1])]
    assert charges[-1].until_ns == end
    for charge in charges:
        assert sum(part.alloc_ns for part in charge.parts) == charge.until_ns - charge.from_ns
    totals, exact = given_out(charges), independent_totals(timeline, begin, end)
    assert totals.keys() == exact.keys()
    # Each charge rounds a holder by less than one nanosecond.
    assert all(abs(totals[name] - exact[name]) < len(charges) for name in totals)
    assert all(one.until_ns == two.from_ns for one, two in pairwise(charges))
