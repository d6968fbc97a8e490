"""Whose batch comes next, and how much one host may deliver."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from whence_collector.allowance import RESERVE_S, Allowance
from whence_collector.turns import Room, Turns

FLOODING, QUIET, OTHER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the queue sees it."""

    host_id: int
    number: int
    rows: int = 10


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_hosts_take_turns_and_each_keeps_its_order() -> None:
    async def talk() -> list[Batch]:
        turns: Turns[Batch] = Turns(Room(of_host=9, of_all=99))
        for number in range(3):
            await turns.put(FLOODING, Batch(FLOODING, number))
        await turns.put(QUIET, Batch(QUIET, 0))
        await turns.put(OTHER, Batch(OTHER, 0))
        return turns.take(1000)

    taken = [(batch.host_id, batch.number) for batch in finished(talk())]

    assert taken == [(FLOODING, 0), (QUIET, 0), (OTHER, 0), (FLOODING, 1), (FLOODING, 2)]


def test_a_group_ends_once_it_has_enough_rows() -> None:
    async def talk() -> tuple[int, int]:
        turns: Turns[Batch] = Turns(Room(of_host=9, of_all=99))
        for number in range(5):
            await turns.put(QUIET, Batch(QUIET, number))
        return len(turns.take(25)), len(turns)

    assert finished(talk()) == (3, 2)


def test_a_host_that_floods_waits_and_no_other_does() -> None:
    async def talk() -> tuple[bool, int, bool]:
        turns: Turns[Batch] = Turns(Room(of_host=2, of_all=2))
        for number in range(2):
            await turns.put(FLOODING, Batch(FLOODING, number))
        third = asyncio.create_task(turns.put(FLOODING, Batch(FLOODING, 2)))
        await asyncio.sleep(0)
        await asyncio.wait_for(turns.put(QUIET, Batch(QUIET, 0)), 60)  # at once
        waited, held = not third.done(), len(turns)
        turns.take(1000)
        await asyncio.wait_for(third, 60)
        return waited, held, len(turns) == 1

    assert finished(talk()) == (True, 3, True)


def test_who_waits_and_goes_away_takes_no_place() -> None:
    async def talk() -> list[int]:
        turns: Turns[Batch] = Turns(Room(of_host=1, of_all=1))
        await turns.put(FLOODING, Batch(FLOODING, 0))
        gone = asyncio.create_task(turns.put(FLOODING, Batch(FLOODING, 1)))
        stays = asyncio.create_task(turns.put(FLOODING, Batch(FLOODING, 2)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        turns.take(1)
        await asyncio.wait_for(stays, 60)
        return [batch.number for batch in turns.take(1000)]

    assert finished(talk()) == [2]


def test_a_quiet_host_may_deliver_a_minute_of_rows_at_once() -> None:
    allowance = Allowance(rows_per_second=100)

    assert allowance.pause_s(int(100 * RESERVE_S), now_s=5.0) == 0.0
    assert allowance.pause_s(200, now_s=5.0) == 2.0
    assert allowance.pause_s(0, now_s=6.0) == 1.0


def test_the_reserve_grows_no_further() -> None:
    allowance = Allowance(rows_per_second=100)
    allowance.pause_s(0, now_s=0.0)

    assert allowance.pause_s(int(100 * RESERVE_S) + 100, now_s=1e9) == 1.0


def test_without_a_rate_nobody_waits() -> None:
    assert Allowance(rows_per_second=0).pause_s(10**12, now_s=0.0) == 0.0
