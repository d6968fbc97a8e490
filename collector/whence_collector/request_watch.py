"""Keeps requests level with what runs: links, starts, burns, ends them; tells unrequested GPUs.

A task of the collector; each step reads one state of the database and acts through the ledger.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from whence_collector.answers_runs import family_of
from whence_collector.audit_chain import Draft
from whence_collector.budget_orders import BudgetOrders, told_of
from whence_collector.burning import Burn, burning, of_runs
from whence_collector.errors import CollectorError
from whence_collector.lookups import among
from whence_collector.principals import SYSTEM
from whence_collector.request_book import COMMITTED, UNDER_WAY, State
from whence_collector.request_callers import person_of
from whence_collector.request_known import costs_of, readers_of
from whence_collector.request_progress import burned, ended, link_run
from whence_collector.request_runs import LINKED, RunFacts, RunRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.graph import Graph
    from whence_collector.order_desk import OrderDesk, Told
    from whence_collector.request_book import Book, Request
    from whence_collector.request_ledger import RequestLedger
    from whence_collector.store import Reader, Row, Store, Writer

LOG = logging.getLogger("whence.requests")

# Long enough for a claim or a link to come first, well within a minute of the GPU being held.
UNREQUESTED_AFTER_NS = 20_000_000_000
CANDIDATES = 20
BY_CLAIM = "SELECT run_id, claim_id FROM run WHERE parent_run_id IS NULL AND "
MISLABELLED = """
WITH RECURSIVE family AS (
    SELECT run_id, request_id FROM request_run
    UNION ALL
    SELECT r.run_id, f.request_id FROM family f JOIN run r ON r.parent_run_id = f.run_id
)
SELECT r.run_id, any_value(f.request_id)
FROM run r LEFT JOIN family f USING (run_id)
WHERE (r.request_id IS NOT NULL OR f.request_id IS NOT NULL)
    AND r.request_id IS DISTINCT FROM f.request_id
GROUP BY r.run_id
"""
# `whence tag request=R-12`, by whoever may tag the process or run.
BY_TAG = """
SELECT run_id, value FROM run_label WHERE key = 'request' AND value IS NOT NULL ORDER BY at_ns
"""
BY_NAME = "SELECT run_id, request_id FROM run WHERE parent_run_id IS NULL AND "


class RequestWatch:
    """Looks at runs and money on behalf of requests."""

    def __init__(
        self, store: Store, ledger: RequestLedger, graph: Graph, facts: RunFacts,
        desk: OrderDesk, clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self._store, self._ledger, self._graph = store, ledger, graph
        self._facts, self._clock, self._orders = facts, clock, BudgetOrders(desk)
        self._unfit: set[tuple[str, str]] = set()  # (request, run) that were compared already

    def step(self) -> None:
        """Do whatever has become due."""
        self._ledger.tick()
        self._hear()
        now = self._clock()
        with self._store.cursor() as reader:
            self._graph.follow(reader)
            drafts = self._ledger.read(lambda book: self._drafts(reader, book, now))
        for draft in drafts:
            self._act(draft)
        self._level()
        self._send()

    def _hear(self) -> None:
        """Record what hosts told of orders, one after the other: each rests on the last."""
        for told in self._orders.heard():
            self._try(partial(_told, told))

    def _send(self) -> None:
        """Send what was ordered, once it is on the disk."""
        now = self._clock()
        ending = self._ledger.read(
            lambda book: [each for each in book.requests.values() if each.ending is not None]
        )
        if not ending:
            return
        with self._store.cursor() as reader:
            for request in ending:
                self._orders.send(reader, request, _families(reader, request), now)

    def _level(self) -> None:
        """Let every run row name the request that it answers, and no other.

        A run's own word (WHENCE_REQUEST) does not make it requested: only a link does. The rows of
        running runs are written anew by the derivation, so this is asked at each step.
        """
        with self._store.cursor() as reader:
            wrong = reader.rows(MISLABELLED)
        if wrong:
            self._store.write(lambda writer: _name_requests(writer, wrong)).result()

    def _act(self, draft: Draft) -> None:
        self._try(lambda _book, _now: [draft])

    def _try(self, decide: Callable[[Book, int], list[Draft]]) -> None:
        try:
            self._ledger.act(SYSTEM, decide)
        except CollectorError as error:
            LOG.warning("what is due for requests waits: %s", error)

    def _drafts(self, reader: Reader, book: Book, now: int) -> list[Draft]:
        burns = burning(reader, now)
        drafts = self._links(reader, book)
        linked = {draft.content["run"] for draft in drafts}
        for request in book.requests.values():
            if request.state in UNDER_WAY and request.runs:
                drafts += self._progress(reader, book, request, burns, now)
        return drafts + self._unrequested(reader, book, burns, linked, now)

    # Runs to requests -------------------------------------------------------------------------

    def _links(self, reader: Reader, book: Book) -> list[Draft]:
        found: dict[str, Draft] = {}
        wanted = [each for each in book.requests.values() if each.state in COMMITTED]
        claims = {each.claim.claim_id: each for each in wanted if each.claim is not None}
        for run_id, claim_id in _rows(reader, BY_CLAIM, "claim_id", list(claims)):
            self._link(book, found, claims[claim_id], run_id, "claim", 1000)
        names = {each.request_id: each for each in wanted}
        for run_id, name in _rows(reader, BY_NAME, "request_id", list(names)):
            self._link(book, found, names[name], run_id, "tag", 900)
        for run_id, name in reader.rows(BY_TAG):
            named = names.get(f"R-{name.strip().upper().removeprefix('R-')}")
            if named is not None:
                for run in self._facts.runs(reader, [run_id]):
                    whole = self._whole(reader, run)
                    self._link(book, found, named, whole.run_id, "tag", 900)
        for request in wanted:
            if not request.runs:
                self._by_content(reader, book, found, request)
        return list(found.values())

    def _link(
        self, book: Book, found: dict[str, Draft], request: Request, run_id: str, how: str,
        score: int,
    ) -> None:  # fmt: skip
        if run_id in book.run_request or run_id in found:
            return
        others = [link for link in request.runs if link.how == "claim"]
        remark = "a second run on one claim" if how == "claim" and others else ""
        for draft in link_run(request, run_id, how, score, remark):
            found[run_id] = draft

    def _by_content(
        self, reader: Reader, book: Book, found: dict[str, Draft], request: Request
    ) -> None:
        """Link the one run that reads what was approved; where several fit, a person picks."""
        candidates: set[str] = set()
        for dataset in request.card.datasets:
            if dataset.digest:
                candidates.update(readers_of(reader, dataset.digest, CANDIDATES))
        fits = []
        since = max((each.at_unix_ns for each in request.approvals()), default=0)
        for candidate in self._facts.runs(reader, sorted(candidates)):
            run = self._whole(reader, candidate)
            key = (request.request_id, run.run_id)
            if run.run_id in book.run_request or run.run_id in found or key in self._unfit:
                continue
            if run.started_ns < since:  # it had begun before anybody agreed
                self._unfit.add(key)
                continue
            person = person_of(book, run.user or "", run.host)
            theirs = person.household == request.household
            score = self._facts.fit(reader, request, run, since_ns=since, theirs=theirs)
            if score >= LINKED:
                fits.append((run.run_id, score))
            elif run.status != "running":
                self._unfit.add(key)
        if len({run_id for run_id, _ in fits}) == 1:
            self._link(book, found, request, *fits[0][:1], "content", fits[0][1])

    def _whole(self, reader: Reader, run: RunRow) -> RunRow:
        """Return the run that a step belongs to: it is what answers a request."""
        while run.parent_run_id is not None:
            above = self._facts.runs(reader, [run.parent_run_id])
            if not above or above[0].kind == "session":
                break
            run = above[0]
        return run

    # Money ------------------------------------------------------------------------------------

    def _progress(
        self, reader: Reader, book: Book, request: Request, burns: list[Burn], now: int
    ) -> list[Draft]:
        families = _families(reader, request)
        spent = sum(costs_of(reader, families).values())
        spent += sum(burn.unsettled_micro_usd(now) for burn in of_runs(burns, families))
        drafts = burned(request, spent)
        if request.state is not State.RUNNING:
            return drafts
        drafts += self._orders.drafts(reader, book, request, families, spent)
        runs = self._facts.runs(reader, [link.run_id for link in request.runs])
        outcomes = [run.status for run in sorted(runs, key=lambda run: run.started_ns)]
        return drafts + ended(request, outcomes, spent)

    def _unrequested(
        self, reader: Reader, book: Book, burns: list[Burn], linked: set[str], now: int
    ) -> list[Draft]:
        held: dict[str, list[Burn]] = {}
        for burn in burns:
            if burn.run_id is not None and now - burn.from_ns >= UNREQUESTED_AFTER_NS:
                held.setdefault(burn.run_id, []).append(burn)
        drafts = []
        for run in self._facts.runs(reader, sorted(held)):
            whole = self._whole(reader, run)
            known = {run.run_id, whole.run_id}
            if known & (book.run_request.keys() | book.unrequested.keys() | linked):
                continue
            linked.add(whole.run_id)
            burning_now = held[run.run_id]
            content = {
                "run": whole.run_id,
                "command": whole.command,
                "user": whole.user or "",
                "host": whole.host,
                "gpus": len(burning_now),
                "since_unix_ns": min(burn.from_ns for burn in burning_now),
                "micro_usd_per_hour": sum(burn.micro_usd_per_hour for burn in burning_now),
            }
            drafts.append(Draft("spend.unrequested", whole.run_id, content))
        return drafts


def _told(told: Told, book: Book, _now: int) -> list[Draft]:
    return told_of(book, told)


def _families(reader: Reader, request: Request) -> list[str]:
    """Return the runs of a request with their steps."""
    return [each for link in request.runs for each in family_of(reader, link.run_id)]


def _name_requests(writer: Writer, named: list[Row]) -> None:
    for run_id, request_id in named:
        writer.execute("UPDATE run SET request_id = ? WHERE run_id = ?", (request_id, run_id))


def _rows(reader: Reader, select: str, column: str, values: list[str]) -> list[tuple[str, str]]:
    if not values:
        return []
    condition, params = among(column, values)
    return [(row[0], row[1]) for row in reader.rows(f"{select}{condition}", params)]
