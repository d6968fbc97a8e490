"""Numbers of each CPU: what is missing, and what of it no counter explains."""

from __future__ import annotations

import numpy as np

from whenced.record import RECORD, Rows
from whenced.sequences import Sequences


def records(*numbers: tuple[int, int]) -> Rows:
    """Records by (cpu, sequence), in the order of the ring."""
    rows = np.zeros(len(numbers), dtype=RECORD)
    for row, (cpu, sequence) in zip(rows, numbers, strict=True):
        row["cpu"], row["sequence"] = cpu, sequence
    return rows


def test_nothing_is_missing_of_what_came_in_order() -> None:
    sequences = Sequences()
    sequences.received(records((0, 1), (3, 1), (0, 2)))
    sequences.received(records((3, 2), (0, 3)))

    assert (sequences.missing, sequences.vanished(0, last=True)) == (0, 0)


def test_a_gap_that_a_counter_explains_is_no_news() -> None:
    sequences = Sequences()
    sequences.received(records((0, 1), (0, 4), (1, 2)))

    assert (sequences.missing, sequences.vanished(3, last=True)) == (3, 0)


def test_a_gap_that_nobody_confesses_to_is_told_once_and_after_two_looks() -> None:
    sequences = Sequences()
    sequences.received(records((0, 1), (0, 4)))

    assert [sequences.vanished(0) for _ in range(4)] == [0, 2, 0, 0]


def test_records_that_overtake_each_other_are_not_missing() -> None:
    """A program that another one interrupted: its number is lower and comes later."""
    sequences = Sequences()
    sequences.received(records((0, 2)))
    early = sequences.vanished(0)
    sequences.received(records((0, 1), (0, 3)))

    assert (early, sequences.vanished(0), sequences.vanished(0, last=True)) == (0, 0, 0)
