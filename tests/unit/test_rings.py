"""Several rings in one order: nothing is lost, no ring is reordered, nothing is given too early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_ring import Producer

from whenced.record import RECORD, Kind, Rows
from whenced.rings import Order, Rings, Sizes

SIZE = 2 * 4096
SIZES = Sizes(*[SIZE] * 5)


def rows(times: Sequence[int], kind: int = 0) -> Rows:
    """Records of these times."""
    made = np.zeros(len(times), dtype=RECORD)
    made["at_ns"], made["kind"] = times, kind
    return made


def told(given_rows: Rows) -> list[tuple[int, int]]:
    """Return (time, kind) of each."""
    return list(zip(given_rows["at_ns"].tolist(), given_rows["kind"].tolist(), strict=True))


def test_of_two_rings_the_earlier_record_is_first() -> None:
    order = Order(2)
    order.put(0, rows([1, 4], 0), 5)
    order.put(1, rows([2, 3], 1), 5)

    assert told(order.take()) == [(1, 0), (2, 1), (3, 1), (4, 0)]


def test_what_another_ring_may_precede_waits() -> None:
    """The end of a process is known, what it touched last is in a ring that was not read yet."""
    order = Order(2)
    order.put(0, rows([1, 9], Kind.EXIT), 10)
    order.put(1, rows([2], Kind.READ), 2)
    first = told(order.take())
    held = order.held_rows
    order.put(1, rows([8], Kind.READ), 12)

    assert first == [(1, Kind.EXIT), (2, Kind.READ)]
    assert held == 1
    assert told(order.take()) == [(8, Kind.READ), (9, Kind.EXIT)]


def test_a_ring_is_never_reordered() -> None:
    """Of two processors the clock of one may be read before, and its record written after."""
    order = Order(2)
    order.put(0, rows([5, 4, 6], 0), 10)
    order.put(1, rows([4], 1), 10)

    assert told(order.take()) == [(4, 1), (5, 0), (4, 0), (6, 0)]


def test_at_the_end_everything_is_given() -> None:
    order = Order(2)
    order.put(0, rows([7, 8]), 8)

    assert told(order.take()) == []
    assert told(order.take(last=True)) == [(7, 0), (8, 0)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=30),
)
def test_any_cutting_gives_one_order(
    steps: list[tuple[int, int]], cuts: list[tuple[int, int]]
) -> None:
    """Records of rising times in any ring, read in any pieces at any time: in time, all, once."""
    rings: list[list[int]] = [[], [], []]
    at_ns = 0
    for ring, step in steps:
        at_ns += 1 + step
        rings[ring].append(at_ns)
    everything = sorted(chain(*rings))
    order, found = Order(3), []
    for ring, count in cuts:
        piece, rings[ring] = rings[ring][:count], rings[ring][count:]
        order.put(ring, rows(piece, ring), piece[-1] if piece else 0)
        found += told(order.take())
    for ring, rest in enumerate(rings):
        order.put(ring, rows(rest, ring), at_ns)
    found += told(order.take())

    assert [time for time, _ in found] == everything
    assert order.held_rows == 0


class Kernel:
    """Five rings as the kernel lays them out."""

    def __init__(self) -> None:
        self.made = {name: Producer() for name in SIZES.__slots__}
        self.rings = Rings(lambda name: self.made[name].fd, SIZES)

    def see(self, ring: str, at_ns: int, flags: int = 0) -> int:
        """Put a record down."""
        return self.made[ring].put(rows([at_ns]).tobytes(), flags)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.rings.close()


def test_the_rings_are_read_up_to_a_moment(kernel: Kernel) -> None:
    for ring, at_ns in (("hot", 2), ("life", 1), ("names", 3), ("life", 12)):
        kernel.see(ring, at_ns)

    first = told(kernel.rings.take(10)[0])
    held = kernel.rings.sorter.held_rows
    second = told(kernel.rings.take(20)[0])

    assert ([at for at, _ in first], held, [at for at, _ in second]) == ([1, 2, 3], 1, [12])


def test_a_record_that_is_being_written_holds_back_what_is_later(kernel: Kernel) -> None:
    kernel.see("hot", 1)
    busy = kernel.see("hot", 4, 1 << 31)
    kernel.see("life", 5)
    first = told(kernel.rings.take(10)[0])
    frontier_ns = kernel.rings.sorter.frontier_ns
    kernel.made["hot"].submit(busy, RECORD.itemsize)
    second = told(kernel.rings.take(10)[0])

    assert ([at for at, _ in first], frontier_ns) == ([1], 1)
    assert [at for at, _ in second] == [4, 5]


def test_the_life_cycle_can_be_taken_alone(kernel: Kernel) -> None:
    """Then its ring has room, and the order is kept all the same."""
    kernel.see("hot", 1)
    kernel.see("life", 2)
    kernel.rings.sorter.sort(kernel.rings.read_life())
    kernel.rings.release()
    left = kernel.rings.life.backlog_bytes, kernel.rings.sorter.held_rows

    assert left == (0, 1)
    assert [at for at, _ in told(kernel.rings.take(10)[0])] == [1, 2]


def test_sizes_are_what_the_kernel_takes() -> None:
    assert Sizes.of(8192, 4096, 4096) == Sizes(8192, 4096, 4096, 4096, 4096)
