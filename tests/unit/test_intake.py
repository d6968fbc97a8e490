"""What is taken from the kernel side, in which order it is given, and how much is held."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import cast

import pytest
from tests.unit.daemon_samples import MS, SECOND_NS
from tests.unit.handmade_kernel import HotRing, Kernel, Ring, Rings

from whenced.intake import Intake
from whenced.load_queue import LOAD_ROWS, Load
from whenced.loader import Capture
from whenced.record import Kind


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    yield Kernel(Rings(HotRing(fd), Ring(fd)))
    os.close(fd)


@pytest.fixture
def intake(kernel: Kernel) -> Iterator[Intake]:
    made = Intake(cast(Capture, kernel), lambda: 0)
    yield made
    made.close()


def loads(intake: Intake, now_ns: int = 0) -> list[Load]:
    """Take everything."""
    return list(iter(lambda: intake.take(now_ns), None))


def is_readable(fd: int) -> bool:
    """Whether waiting for the descriptor would end at once."""
    return bool(select.select([fd], [], [], 0)[0])


def test_nothing_there_nothing_given(intake: Intake) -> None:
    assert (intake.take(0), is_readable(intake.fileno())) == (None, False)


def test_texts_that_came_before_their_records_are_given(kernel: Kernel, intake: Intake) -> None:
    kernel.see(Kind.READ, b"/data/a")
    kernel.rings.hot.waiting.clear()

    (load,) = loads(intake)

    assert (load.rows, len(list(load.texts or ()))) == (None, 1)


def test_a_large_drain_is_given_in_parts_with_all_texts_first(
    kernel: Kernel, intake: Intake
) -> None:
    """A record of any part finds its text: they are added with the first."""
    count = 2 * LOAD_ROWS + 1
    for number in range(count):
        kernel.see(Kind.READ, b"/data/a", at_ns=number)

    taken = loads(intake)

    assert [len(load.rows) for load in taken if load.rows is not None] == [LOAD_ROWS, LOAD_ROWS, 1]
    assert [None if each.texts is None else len(list(each.texts)) for each in taken] == [
        count,
        None,
        None,
    ]
    assert (intake.held_rows, is_readable(intake.fileno())) == (0, False)


def test_counts_follow_the_records_that_were_there(kernel: Kernel, intake: Intake) -> None:
    kernel.created = 1
    kernel.see(Kind.READ, b"/data/a")

    first, second = loads(intake, 2 * SECOND_NS)

    assert (first.rows is None, first.uses, second.rows) == (False, None, None)
    assert (second.uses is None, second.is_urgent) == (False, False)


@pytest.mark.parametrize(("now_ns", "urgent"), [(100 * MS, []), (200 * MS, [True])])
def test_counts_are_urgent_after_a_process_ended(
    kernel: Kernel, intake: Intake, now_ns: int, urgent: list[bool]
) -> None:
    kernel.created = 1
    kernel.see(Kind.EXIT)

    assert [each.is_urgent for each in loads(intake, now_ns) if each.uses] == urgent


def test_what_the_loop_does_not_take_stays_in_the_ring_at_last(
    kernel: Kernel,
) -> None:
    """Memory is bounded: then the ring fills, and its losses are counted."""
    intake = Intake(cast(Capture, kernel), lambda: 0, held_rows=3)
    for _ in range(3):
        kernel.see(Kind.READ, b"/data/a")
    intake.pump(0)
    kernel.see(Kind.READ, b"/data/b")
    intake.pump(0)
    intake.close()

    assert (intake.held_rows, len(kernel.rings.hot.waiting)) == (3, 1)


def test_the_end_takes_everything(kernel: Kernel, intake: Intake) -> None:
    """Records and counts, also those that came while the thread ended."""
    intake.start()
    kernel.created = 1
    kernel.see(Kind.READ, b"/data/a")
    intake.stop()

    found = [(load.rows is not None, load.uses is not None) for load in loads(intake)]

    assert found == [(True, False), (False, True)]


def test_the_thread_takes_while_the_loop_is_busy(kernel: Kernel, intake: Intake) -> None:
    intake.start()
    kernel.see(Kind.READ, b"/data/a")
    os.eventfd_write(kernel.rings.hot.fd, 1)

    found = select.select([intake.fileno()], [], [], 30)[0]
    intake.stop()

    assert (found, len(loads(intake))) == ([intake.fileno()], 1)
