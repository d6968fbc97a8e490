"""Births and ends against walks over all tasks, and what the proof says of a difference."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from tests.unit.daemon_samples import Daemon
from tests.unit.handmade_kernel import HotRing, Kernel, Ring, Rings

from whence_proto.v1 import ingest_pb2 as wire
from whenced.balance import Balance, Difference, Walk
from whenced.loader import Capture
from whenced.proof import Proof
from whenced.record import ALIVE, ALIVE_IN_SCOPE, LOSER, PROCESS, RECORD, Kind, Rows
from whenced.rows import AccountRow, LossRow, MarkRow, ProcessKey, Row, StartRow
from whenced.taskstats import Account

NOBODY = Difference((), ())
SECOND_NS = 1_000_000_000
BEGAN_NS = 5 * SECOND_NS
KNOWN = (101, 2_000)  # whom Daemon's events are about
LOST = (202, 3_000)


def alive(*lives: tuple[int, int], flags: int = ALIVE_IN_SCOPE) -> Rows:
    """ALIVE rows of (tgid, start_ns)."""
    rows = np.zeros(len(lives), dtype=ALIVE)
    for row, (tgid, start_ns) in zip(rows, lives, strict=True):
        row["process_tgid"], row["process_start_ns"] = tgid, start_ns
        row["process_exec_id"], row["flags"], row["uid"] = 7, flags, 1000
    return rows


def walk(at_ns: int, *lives: tuple[int, int], flags: int = ALIVE_IN_SCOPE) -> Walk:
    return Walk.of(at_ns, alive(*lives, flags=flags))


def test_who_lives_by_both_accounts_is_no_difference() -> None:
    balance = Balance()

    assert balance.compare(walk(9, (1, 5)), {(1, 5): 5}) == NOBODY
    assert (balance.is_open, balance.differences) == (False, 0)


def test_a_difference_is_told_once_when_two_walks_found_it() -> None:
    balance = Balance()
    said = [balance.compare(walk(at, (1, 5)), {(2, 6): 6}) for at in (10, 20, 30)]

    assert said == [NOBODY, Difference(((1, 5),), ((2, 6),)), NOBODY]
    assert balance.differences == 2


def test_what_a_record_explains_meanwhile_is_no_difference() -> None:
    balance = Balance()
    balance.compare(walk(10, (1, 5)), {})
    is_open = balance.is_open

    assert is_open
    assert balance.compare(walk(20, (1, 5)), {(1, 5): 5}) == NOBODY


def test_who_was_born_after_the_walk_is_not_missed_by_it() -> None:
    balance = Balance()
    for at in (10, 11):
        assert balance.compare(walk(at), {(2, 12): 12}) == NOBODY


def test_who_left_the_scope_lives_and_who_is_outside_is_not_missed() -> None:
    balance = Balance()
    for at in (10, 20):
        assert balance.compare(walk(at, (1, 5), (3, 4), flags=0), {(1, 5): 5}) == NOBODY


class Bench:
    """A proof with a kernel side made by hand."""

    def __init__(self, *, whole_host: bool = True) -> None:
        self.daemon = Daemon()
        self.kernel = Kernel(Rings(HotRing(-1), Ring(-1)))
        self.lives: Rows = alive()
        self.losers: list[tuple[tuple[int, int, int], tuple[int, ...]]] = []
        self.skipped = 0
        side: Any = self.kernel
        side.alive = lambda: self.lives
        side.take_losers = self._take_losers
        side.recursion_misses = lambda: {"on_call": self.skipped}
        self.proof = Proof(
            cast(Capture, side), self.daemon.processes, BEGAN_NS, whole_host=whole_host
        )

    def _take_losers(self) -> tuple[Rows, Rows]:
        keys, values = np.zeros(len(self.losers), PROCESS), np.zeros(len(self.losers), LOSER)
        for at, ((tgid, start_ns, exec_id), lost) in enumerate(self.losers):
            keys[at] = (start_ns, tgid, exec_id)
            values[at] = (lost,)
        self.losers.clear()
        return keys, values

    def look(self, after_s: float, *, last: bool = False) -> list[Row]:
        """Step and flush, everything of before being taken."""
        now_ns = BEGAN_NS + round(after_s * SECOND_NS)
        self.proof.step(now_ns, now_ns)
        return self.proof.rows(now_ns, now_ns, last=last)


def of(kind: type[Any], rows: list[Row]) -> list[Any]:
    return [row for row in rows if isinstance(row, kind)]


def test_the_first_walk_tells_who_lived_at_the_beginning() -> None:
    bench = Bench(whole_host=False)
    bench.daemon.see(Kind.READ, text=0)
    bench.lives = alive(KNOWN)
    first, second = bench.look(0), bench.look(0.1)

    assert [row.mark for row in of(MarkRow, first)] == [wire.CAPTURE_MARK_BEGAN]
    walked, told = of(MarkRow, second)
    assert (walked.mark, walked.alive) == (wire.CAPTURE_MARK_WALKED, (ProcessKey(*KNOWN, 7),))
    assert (told.mark, told.at_ns) == (wire.CAPTURE_MARK_TOLD, BEGAN_NS + SECOND_NS // 10)


def test_the_end_says_up_to_when_everything_was_told() -> None:
    bench = Bench()
    bench.look(0)

    marks = [(row.mark, row.at_ns) for row in of(MarkRow, bench.look(1, last=True))][-2:]

    assert marks == [
        (wire.CAPTURE_MARK_TOLD, BEGAN_NS + SECOND_NS),
        (wire.CAPTURE_MARK_ENDED, BEGAN_NS + SECOND_NS),
    ]


def test_an_end_is_followed_by_a_mark_when_everything_of_before_is_told() -> None:
    bench = Bench()
    bench.look(0)
    bench.look(0.1)
    record = np.zeros(1, dtype=RECORD)
    record["kind"], record["at_ns"] = int(Kind.EXIT), BEGAN_NS + SECOND_NS
    bench.proof.received(record)
    early = bench.proof.waiting
    bench.proof.step(BEGAN_NS + SECOND_NS, BEGAN_NS + SECOND_NS)
    owed = bench.proof.waiting
    bench.look(1)

    assert (early, owed, bench.proof.waiting) == (0, 1, 0)


def test_a_lost_end_is_a_loss_of_that_process_and_told_with_a_walk() -> None:
    bench = Bench()
    bench.daemon.see(Kind.READ, text=0)
    bench.look(0)
    rows = [row for after_s in (0.1, 1.2, 1.3, 2.4) for row in bench.look(after_s)]

    (loss,) = of(LossRow, [row for row in rows if isinstance(row, LossRow) and row.lost])
    assert (loss.record_class, loss.lost, loss.process) == ("life", 1, ProcessKey(*KNOWN, 1))
    assert "its end was not seen" in str(loss.reason)
    assert [row.mark for row in of(MarkRow, rows)].count(wire.CAPTURE_MARK_WALKED) == 2
    assert bench.daemon.processes.living() == {}


@pytest.mark.parametrize("whole_host", [True, False])
def test_a_process_that_nobody_introduced(*, whole_host: bool) -> None:
    """On a whole host its fork was lost; where there is a scope it may have moved in."""
    bench = Bench(whole_host=whole_host)
    bench.lives = alive(LOST)
    bench.look(0)
    rows = [row for after_s in (0.1, 1.2, 1.3) for row in bench.look(after_s)]

    lost = [row.process for row in of(LossRow, rows) if row.lost]
    (start,) = of(StartRow, list(bench.daemon.processes.take_rows()))
    assert lost == ([ProcessKey(*LOST, 7)] if whole_host else [])
    assert (start.process, start.uid) == (ProcessKey(*LOST, 7), 1000)


def test_a_loss_of_life_is_followed_by_a_walk_soon() -> None:
    bench = Bench()
    bench.look(0)
    bench.look(0.1)
    bench.kernel.attempted["life"] = (1, 0, 1)
    bench.losers.append(((*LOST, 7), (1, 0, 0, 0, 0)))
    rows = bench.look(0.2)
    walks = bench.proof.balance.walks
    bench.look(1.3)
    bench.look(1.4)

    assert [(row.process, row.lost) for row in of(LossRow, rows) if row.lost] == [
        (ProcessKey(*LOST, 7), 1)
    ]
    assert bench.proof.balance.walks == walks + 1


def test_calls_that_the_kernel_left_out_are_a_loss_of_the_interval() -> None:
    bench = Bench()
    bench.look(0)
    bench.skipped = 4
    rows = [row for row in of(LossRow, bench.look(1)) if row.lost]
    later = [row for row in of(LossRow, bench.look(2)) if row.lost]

    assert [(row.record_class, row.lost, row.process) for row in rows] == [("program", 4, None)]
    assert (rows[0].from_ns, rows[0].until_ns) == (BEGAN_NS, BEGAN_NS + SECOND_NS)
    assert later == []
    assert bench.proof.state()["skipped"] == {"on_call": 4}


class Accounts:
    """The kernel's accounts, put down by the test."""

    unavailable = None

    def __init__(self, *accounts: Account) -> None:
        self.waiting = list(accounts)
        self.overflows = 0

    def take(self) -> list[Account]:
        """Give them."""
        waiting, self.waiting = self.waiting, []
        return waiting


def test_a_comparison_does_not_wait_for_other_rows() -> None:
    """A host that is idle after its job tells of it all the same."""
    bench = Bench()
    bench.daemon.see(Kind.FORK, tgid=202, start_ns=BEGAN_NS + 5, exec_id=7)
    bench.look(0)
    bench.proof.listen(cast(Any, Accounts(Account(202, 202, 1 << 20, 0, 0, 0))), BEGAN_NS)
    record = np.zeros(1, dtype=RECORD)
    record["kind"], record["at_ns"] = int(Kind.EXIT), BEGAN_NS + 9
    record["process_tgid"], record["process_start_ns"] = 202, BEGAN_NS + 5
    bench.proof.received(record)
    bench.proof.step(BEGAN_NS + 3 * SECOND_NS, BEGAN_NS + 3 * SECOND_NS)

    assert bench.proof.waiting >= 1
    (row,) = of(AccountRow, bench.look(3.1))
    assert (row.process.tgid, row.read_bytes, row.read_seen_bytes) == (202, 1 << 20, 0)
    assert bench.proof.state()["oracle"]["compared"] == 1
