"""Answers about requests: lists, details with runs and money, why, who. Reads only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from whence_collector import request_rules as rules
from whence_collector.answers_content import artifacts_of, makers_of, versions_of
from whence_collector.answers_runs import resolve_run
from whence_collector.audit_chain import Draft
from whence_collector.errors import InvalidRequest, NotFound, RefusedAct
from whence_collector.principals import Role
from whence_collector.request_book import IN_REVIEW, State
from whence_collector.request_known import Registry
from whence_collector.request_messages import approval_text, detail, remark, summary
from whence_collector.request_progress import link_run
from whence_collector.request_runs import RunFacts
from whence_collector.signatures import verify_signature
from whence_collector.timeline import entry
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whence_collector.graph import Graph
    from whence_collector.principals import Caller, Principal
    from whence_collector.request_book import Book, Request
    from whence_collector.request_ledger import RequestLedger
    from whence_collector.store import Reader, Store

LISTED = 50
WHY_RUNS = 100


def list_requests(book: Book, caller: Caller, asked: wire.ListRequest) -> wire.ListReply:
    """Return requests, newest first, as far as every filter lets them through."""
    limit = asked.limit or LISTED
    wrong = set(asked.states) - {state.value for state in State}
    if wrong:
        names = ", ".join(state.value for state in State)
        raise InvalidRequest(f"{wrong.pop()!r} is no state; the states are {names}")
    found = [
        request
        for request in reversed(book.requests.values())
        if (not asked.states or request.state.value in asked.states)
        and (not asked.project or request.card.project == asked.project)
        and (not asked.mine or _is_mine(caller.principal, request))
        and (not asked.to_review or _waits_for(caller.principal, request))
        and (not asked.queued or request.state is State.APPROVED)
    ]
    return wire.ListReply(
        requests=[summary(book, each) for each in found[:limit]], truncated=len(found) > limit
    )


def _is_mine(who: Principal, request: Request) -> bool:
    return bool(who.name) and who.household == request.household


def _waits_for(who: Principal, request: Request) -> bool:
    return (
        request.state in IN_REVIEW
        and who.name in request.card.reviewers
        and all(review.who != who.name for review in request.approvals())
    )


def who(caller: Caller) -> wire.WhoAmIReply:
    """Return who the caller is."""
    principal = caller.principal
    return wire.WhoAmIReply(
        name=principal.name,
        kind=principal.kind.value if principal.name else "",
        owner=principal.owner,
        roles=sorted(role.value for role in principal.roles),
        credential=caller.credential,
        doubt=caller.doubt,
    )


def link_by_hand(
    book: Book, caller: Caller, request_id: str, run_id: str, reason: str
) -> list[Draft]:
    """Say that a run answers a request, with the reason kept beside it."""
    rules.require(caller, Role.MEMBER, "link a run")
    request = rules.find(book, request_id)
    if caller.principal.household != request.household and not caller.principal.has(Role.APPROVER):
        raise RefusedAct(
            "owner", f"{request.request_id} is {request.requester}'s; they or an approver link runs"
        )
    taken = book.run_request.get(run_id)
    if taken is not None:
        raise RefusedAct("taken", f"run {run_id[:8]} answers {taken} already")
    if request.state not in (State.APPROVED, State.CLAIMED, State.RUNNING):
        raise RefusedAct(
            "state", f"{request.request_id} is {request.state.value}; only an approved one has runs"
        )
    return link_run(request, run_id, "hand", 1000, f"{caller.principal.name}: {reason}")


class Questions:
    """Whatever needs the database beside the book."""

    def __init__(
        self, store: Store, graph: Graph, facts: RunFacts, clock: Callable[[], int]
    ) -> None:
        self._store, self._graph = store, graph
        self._facts, self._clock = facts, clock

    def use(self, ledger: RequestLedger) -> None:
        """Take the ledger whose book estimates compare with."""
        self._ledger = ledger

    @contextmanager
    def known(self, now: int) -> Iterator[Registry]:
        """Give what is known outside of requests, from one state of the database."""
        with self._store.cursor() as reader:
            yield Registry(reader, self._ledger.book, now)

    def detail(self, request_id: str, ledger: RequestLedger) -> wire.RequestDetail:
        """Return a request in full."""
        message, request = ledger.read(lambda book: _copied(book, request_id))
        with self._store.cursor() as reader:
            self._graph.follow(reader)
            self._facts.add(reader, message, request, self._clock())
        message.timeline.extend(
            entry(record) for record in ledger.records() if record.subject == request.request_id
        )
        return message

    def run_id(self, text: str) -> str:
        """Return the run of a prefix. Raises as resolve_run does."""
        with self._store.cursor() as reader:
            return resolve_run(reader, text)

    def target(self, text: str) -> str:
        """Return the full name of a run or content. Raises NotFound, InvalidRequest."""
        with self._store.cursor() as reader:
            return _target(reader, text)

    def verify_signature(self, request: Request, who: Principal, signature: str) -> None:
        """Refuse a signature that is not this person's over this very decision."""
        verify_signature(approval_text(request), who.name, who.ssh_keys, signature)

    def why(self, text: str, ledger: RequestLedger) -> wire.WhyReply:
        """Return the requests, decisions and notes along a lineage, nearest first."""
        with self._store.cursor() as reader:
            self._graph.follow(reader)
            target = _target(reader, text)
            starts = _starts(reader, target)
            reached = self._graph.upstream(starts)
            order = sorted(reached, key=lambda run: (reached[run].hops, run))
            reply = ledger.read(lambda book: self._why(reader, book, order[:WHY_RUNS], target))
        for step in reply.steps:
            step.hops = reached[step.run_id].hops
        reply.truncated = len(order) > WHY_RUNS
        return reply

    def _why(self, reader: Reader, book: Book, run_ids: list[str], target: str) -> wire.WhyReply:
        reply = wire.WhyReply(notes=[remark(each) for each in book.notes.get(target, ())])
        if target.startswith("blake3:"):
            reply.digest = target
        for run in self._facts.runs(reader, run_ids):
            step = wire.WhyStep(
                run_id=run.run_id,
                command=run.command,
                started_unix_ns=run.started_ns,
                status=run.status,
                notes=[remark(each) for each in book.notes.get(run.run_id, ())],
            )
            request = self._facts.request_of(book, run)
            if request is not None:
                step.request.CopyFrom(detail(book, request))
                self._facts.add(reader, step.request, request, self._clock())
                step.drift.extend(self._facts.drift(reader, request, run))
            reply.steps.append(step)
        return reply


def _copied(book: Book, request_id: str) -> tuple[wire.RequestDetail, Request]:
    request = rules.find(book, request_id)
    return detail(book, request), request


def _target(reader: Reader, text: str) -> str:
    """Return "blake3:…" or a run id in full."""
    if not text.startswith("blake3:"):
        try:
            return resolve_run(reader, text)
        except (NotFound, InvalidRequest):
            if len(text) < 6:
                raise
    found = artifacts_of(reader, text, 2)
    if not found:
        raise NotFound(f"no run or content {text} was ever seen; `whence log` lists runs")
    if len(found) > 1:
        raise InvalidRequest(f"{text} means several contents; write more digits")
    return found[0].digest


def _starts(reader: Reader, target: str) -> dict[str, int]:
    """Return the runs to begin with and until when their reads count."""
    if not target.startswith("blake3:"):
        return {target: 2**63 - 1}
    artifact = artifacts_of(reader, target, 1)[0]
    versions = [version for version, _ in versions_of(reader, artifact.artifact_id)]
    return {made.run_id: made.bound_ns for made in makers_of(reader, versions, 1)}
