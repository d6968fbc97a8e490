"""The course of ending a run, whom it may act on, what the collector orders and hears."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from whence_collector.budget_end import EndRule, grace_left_s, order, rule_of, told
from whence_collector.order_desk import OrderDesk
from whence_collector.principals import Policy
from whence_collector.request_book import Book, Request, Revision, State
from whence_collector.request_card import BudgetEnd, Card
from whence_proto.v1 import ingest_pb2
from whenced import pidfd
from whenced.end_course import Course, Phase
from whenced.end_desk import EndDesk, signal_of

MS_NS = 1_000_000
BOOT = "boot-a"
SLEEPER = "import signal, sys, time; {}print(flush=True); time.sleep(60)"
CATCHES = "signal.signal(signal.SIGUSR1, lambda *_: print('saved', flush=True)); "
DEAF = CATCHES + "signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def test_a_course_asks_waits_terminates_and_kills() -> None:
    order_ = ingest_pb2.EndOrder(order_id="o", grace_ms=5_000, term_ms=1_000)
    course, now = Course.of(order_, 0), 0
    seen = []
    for _ in range(80):
        phase = course.due(now, 1)
        if phase is not None:
            course.enter(phase, now)
            seen.append((phase.value, now // (1_000 * MS_NS)))
        now += 100 * MS_NS
    assert seen == [("checkpoint", 0), ("terminate", 5), ("kill", 6)]
    assert course.due(now, 0) is Phase.ENDED


def test_a_checkpoint_that_was_asked_for_is_not_asked_for_again() -> None:
    order_ = ingest_pb2.EndOrder(order_id="o", grace_ms=100, checkpoint_asked=True)
    course = Course.of(order_, 0)
    assert course.due(0, 1) is None
    assert course.due(100 * MS_NS, 1) is Phase.TERMINATE


@contextmanager
def program(setup: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(setup)], stdout=subprocess.PIPE, text=True
    ) as made:
        assert made.stdout is not None
        made.stdout.readline()
        yield made
        made.kill()


def start_ns(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 -- one line
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def test_a_process_is_held_only_by_its_own_start() -> None:
    with program("") as made:
        began = start_ns(made.pid)
        with pidfd.held(made.pid, began) as fd:
            assert fd is not None
        # The id is right and the start is another's: a used-again id looks just so.
        with pidfd.held(made.pid, began + 10_000_000) as fd:
            assert fd is None
        made.kill()
        made.wait()
        with pidfd.held(made.pid, began) as fd:
            assert fd is None


def test_who_catches_a_signal_is_known() -> None:
    with program("") as plain, program(CATCHES) as catching:
        assert [pidfd.catches(each.pid, signal.SIGUSR1) for each in (plain, catching)] == [
            False, True,
        ]  # fmt: skip
    assert [signal_of(name) for name in ("SIGUSR1", "SIGKILL", "SIGNAL", "")] == [
        signal.SIGUSR1, None, None, None,
    ]  # fmt: skip


class Captured:
    """What capture knows: a tree of given keys."""

    def __init__(self, *keys: tuple[int, int]) -> None:
        self.keys = list(keys)

    def living_below(self, roots: set[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return all of them where a root is one of them."""
        return self.keys if roots & set(self.keys) else []


def ordered(desk: EndDesk, *keys: tuple[int, int], name: str = "o", grace_ms: int = 300) -> None:
    processes = [ingest_pb2.OrderedProcess(pid=pid, start_ns=ns) for pid, ns in keys]
    desk.take(
        ingest_pb2.EndOrder(
            order_id=name,
            boot_id=BOOT,
            processes=processes,
            checkpoint_signal="SIGUSR1",
            grace_ms=grace_ms,
            term_ms=300,
        )
    )


def wait_for(reports: list[Any], phase: str) -> None:
    deadline = time.monotonic() + 20
    while all(each.phase != phase for each in reports) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_deaf_program_and_its_helper_are_asked_and_then_killed() -> None:
    reports: list[Any] = []
    with program(DEAF) as job, program("") as helper:
        keys = [(each.pid, start_ns(each.pid)) for each in (job, helper)]
        desk = EndDesk(Captured(*keys), BOOT, reports.append, allowed=True)  # type: ignore[arg-type]
        ordered(desk, keys[0])
        assert job.stdout is not None
        assert job.stdout.readline() == "saved\n"
        assert (job.wait(20), helper.wait(20)) == (-signal.SIGKILL, -signal.SIGTERM)
        wait_for(reports, "ended")
        ordered(desk, keys[0])  # the same order again: told, not done
    phases = [(each.phase, each.signalled) for each in reports]
    assert phases == [
        ("checkpoint", 1), ("terminate", 2), ("kill", 1), ("ended", 0), ("ended", 0),
    ]  # fmt: skip


def test_what_this_daemon_did_not_capture_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[Any] = []
    monkeypatch.setattr(Course, "is_stuck", lambda *_: True)
    with program("") as foreign:
        desk = EndDesk(Captured(), BOOT, reports.append, allowed=True)  # type: ignore[arg-type]
        ordered(desk, (foreign.pid, start_ns(foreign.pid)), grace_ms=0)
        wait_for(reports, "kill")
        assert foreign.poll() is None
        assert all(each.signalled == 0 for each in reports)


def test_init_the_daemon_and_what_it_runs_below_are_never_signalled() -> None:
    reports: list[Any] = []
    keys = [(pid, start_ns(pid)) for pid in (1, os.getpid(), os.getppid())]
    desk = EndDesk(Captured(*keys), BOOT, reports.append, allowed=True)  # type: ignore[arg-type]
    ordered(desk, *keys, grace_ms=0)
    wait_for(reports, "kill")
    assert all(each.signalled == 0 for each in reports)


@pytest.mark.parametrize(
    ("allowed", "boot", "phase"), [(False, BOOT, "refused"), (True, "other", "ended")]
)
def test_an_order_that_may_not_be_obeyed_signals_nobody(
    allowed: bool, boot: str, phase: str
) -> None:
    reports: list[Any] = []
    with program("") as job:
        key = (job.pid, start_ns(job.pid))
        desk = EndDesk(Captured(key), boot, reports.append, allowed=allowed)  # type: ignore[arg-type]
        ordered(desk, key)
        assert [each.phase for each in reports] == [phase]
        time.sleep(0.5)
        assert job.poll() is None


# The collector's side --------------------------------------------------------------------------


def running(budget_end: BudgetEnd | None = None) -> Request:
    card = Card("t", "r", budget_micro_usd=100, budget_end=budget_end)
    request = Request("R-1", "alice", "human", "alice", 0, State.RUNNING)
    request.revisions.append(Revision(1, card, card.digest, card.terms_digest, "alice", 0))
    return request


def test_nothing_is_ended_until_somebody_opts_in() -> None:
    card = running().card
    assert rule_of(Policy(), card) is None
    house = Policy(enforce_budgets=True, checkpoint_grace_s=7)
    assert rule_of(house, card) == EndRule(100, "SIGUSR1", 7, "house")
    named = Policy(enforce_projects="vision, support", enforce_at_percent=90)
    assert rule_of(named, Card(project="support")) == EndRule(90, "SIGUSR1", 300, "project")
    assert rule_of(named, Card(project="sup")) is None
    own = Card(budget_end=BudgetEnd(120, "SIGUSR2", 0))
    assert rule_of(Policy(), own) == EndRule(120, "SIGUSR2", 0, "request")


def test_an_order_is_given_once_and_only_when_the_share_is_spent() -> None:
    request, rule = running(), EndRule(90, "SIGUSR1", 10, "house")
    assert order(request, rule, 89, ["h"]) == []
    assert order(request, rule, 90, []) == []
    (draft,) = order(request, rule, 90, ["h2", "h1"])
    assert draft.content["hosts"] == ["h1", "h2"]


def test_a_card_without_it_keeps_the_digest_that_it_always_had() -> None:
    assert "budget_end" not in Card("t").document()
    assert Card("t").digest != Card("t", budget_end=BudgetEnd()).digest


def test_what_hosts_tell_only_goes_forward() -> None:
    from whence_collector.audit_chain import follow

    book = Book()
    book.requests["R-1"] = request = running()
    book.apply(
        follow(book.head, 5, {}, order(request, EndRule(90, "S", 10, "house"), 99, ["h"])[0])
    )
    assert grace_left_s(request.ending, "h", 10**9) == (False, 10.0)  # type: ignore[arg-type]

    def hear(phase: str) -> int:
        drafts = told(request, "h", phase, signalled=1, left=1, text="")
        for draft in drafts:
            book.apply(follow(book.head, 10**9, {}, draft))
        return len(drafts)

    assert [hear(phase) for phase in ("checkpoint", "checkpoint", "ended", "kill", "new")] == [
        1, 0, 1, 0, 0,
    ]  # fmt: skip
    assert told(request, "other", "ended", signalled=0, left=0, text="") == []


def test_a_stream_that_proves_nothing_gets_no_order_and_is_not_believed() -> None:
    async def talk() -> tuple[Any, ...]:
        desk = OrderDesk()
        sent: list[Any] = []
        hello = ingest_pb2.Hello(host="h", boot_id=BOOT, obeys_end_orders=True)
        report = ingest_pb2.EndReport(order_id="o", phase="ended")
        with desk.stream(hello, sent.append, proven=False) as hear:
            hear(report)
            unproven = (desk.send("h", ingest_pb2.EndOrder(order_id="o")), desk.heard())
        with desk.stream(hello, sent.append, proven=True) as hear:
            hear(report)
            proven = (desk.obeys("h"), desk.send("h", ingest_pb2.EndOrder(order_id="o")))
            await asyncio.sleep(0)
        return (*unproven, *proven, len(desk.heard()), sent[0].end_order.boot_id, desk.obeys("h"))

    assert asyncio.run(talk()) == (False, [], True, True, 1, BOOT, None)
