"""The servicer of Requests: who calls, what the rules say, the answer. Knows no rule and no SQL."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from whence_collector import request_answers as answers
from whence_collector import request_rules as rules
from whence_collector.administration import Administration
from whence_collector.audit_chain import Draft
from whence_collector.errors import InvalidRequest, RefusedAct
from whence_collector.request_answers import Questions
from whence_collector.request_check import check
from whence_collector.request_ledger import named, told
from whence_collector.request_messages import audit_record, card_from
from whence_collector.timeline import entry
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1 import request_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio

    from whence_collector.audit_chain import Record
    from whence_collector.principals import Caller
    from whence_collector.request_book import Book
    from whence_collector.request_callers import Callers
    from whence_collector.request_card import Card
    from whence_collector.request_ledger import RequestLedger

    Context = grpc.aio.ServicerContext[Any, Any]

MOVES = ("submit", "cancel", "release")
AUDIT_PAGE = 1_000

Reply = TypeVar("Reply")


# ruff: noqa: N802 -- gRPC names the methods


class RequestService(Administration, request_pb2_grpc.RequestsServicer):
    """Answers from the book; each change goes through the ledger, on a worker thread."""

    def __init__(
        self, ledger: RequestLedger, callers: Callers, questions: Questions,
        clock: Callable[[], int],
    ) -> None:  # fmt: skip
        super().__init__(ledger, callers, clock)
        self._questions = questions

    # Changes ----------------------------------------------------------------------------------

    async def File(self, request: wire.FileRequest, context: Context) -> wire.FileReply:
        """Check a card field by field; file it where no error stands in its way."""
        return await self._answer(context, lambda caller: self._file(request, caller))

    def _file(self, request: wire.FileRequest, caller: Caller) -> wire.FileReply:
        card = card_from(request.card)
        key = (caller.principal.name, request.idempotency_key)
        before = self._ledger.read(lambda book: book.filings.get(key))
        if before is not None:
            return wire.FileReply(request=self._detail(before))
        reply, estimate, findings = self._checked(card, caller)
        wrong = any(each["severity"] == "error" for each in findings)
        if request.only_check or (wrong and not request.draft):
            return reply
        records = self._ledger.act(
            caller,
            named("file", "", lambda book, _now: rules.file(
                book, caller, card, draft=request.draft, estimate=estimate, findings=findings,
                key=request.idempotency_key,
            )),
        )  # fmt: skip
        filed = told(records, "request.filed")
        # Without a record the same key was filed meanwhile, by a call beside this one.
        request_id = filed.subject if filed is not None else self._ledger.book.filings[key]
        reply.request.CopyFrom(self._detail(request_id))
        return reply

    def _checked(
        self, card: Card, caller: Caller
    ) -> tuple[wire.FileReply, dict[str, Any], list[dict[str, Any]]]:
        now = self._clock()
        with self._questions.known(now) as known:
            findings = self._ledger.read(
                lambda book: check(card, book, caller.principal, known, now)
            )
            estimate = known.estimate(card)
        documents = [each.document() for each in findings]
        reply = wire.FileReply(findings=[wire.Finding(**each) for each in documents])
        if estimate:
            reply.estimate.CopyFrom(wire.Estimate(**estimate))
        return reply, estimate, documents

    async def Edit(self, request: wire.EditRequest, context: Context) -> wire.FileReply:
        """Write a new revision."""
        return await self._answer(context, lambda caller: self._edit(request, caller))

    def _edit(self, request: wire.EditRequest, caller: Caller) -> wire.FileReply:
        card = card_from(request.card)
        reply, estimate, findings = self._checked(card, caller)

        def decide(book: Book, _now: int) -> list[Draft]:
            found = rules.find(book, request.request_id)
            if request.from_digest and request.from_digest != found.revision.digest:
                raise RefusedAct(
                    "stale", f"{found.request_id} was edited meanwhile; read it again, then edit"
                )
            if found.state != "draft" and any(each["severity"] == "error" for each in findings):
                return []
            return rules.edit(
                book, caller, found.request_id, card, estimate=estimate, findings=findings
            )

        records = self._ledger.act(caller, named("edit", request.request_id, decide))
        if records:
            reply.request.CopyFrom(self._detail(request.request_id))
        return reply

    async def Move(self, request: wire.MoveRequest, context: Context) -> wire.RequestDetail:
        """Submit, cancel or release."""
        if request.move not in MOVES:
            raise InvalidRequest(f"{request.move!r} is no move; give one of {', '.join(MOVES)}")

        def decide(caller: Caller) -> Callable[[Book, int], list[Draft]]:
            def move(book: Book, _now: int) -> list[Draft]:
                if request.move == "cancel":
                    return rules.cancel(book, caller, request.request_id, request.reason)
                if request.move == "release":
                    return rules.release(book, caller, request.request_id)
                self._must_be_whole(book, request.request_id)
                return rules.submit(book, caller, request.request_id)

            return move

        return await self._change(context, request.move, request.request_id, decide)

    def _must_be_whole(self, book: Book, request_id: str) -> None:
        wrong = [
            each
            for each in rules.find(book, request_id).findings
            if each["severity"] == "error" and each["code"] != "past"
        ]
        if wrong:
            raise RefusedAct("incomplete", "; ".join(each["text"] for each in wrong))

    async def Review(self, request: wire.ReviewRequest, context: Context) -> wire.RequestDetail:
        """Decide."""

        def decide(caller: Caller) -> Callable[[Book, int], list[Draft]]:
            def review(book: Book, _now: int) -> list[Draft]:
                drafts = rules.review(
                    book, caller, request.request_id, request.verdict, request.digest,
                    request.reason, request.signature,
                )  # fmt: skip
                if request.signature:
                    self._questions.verify_signature(
                        rules.find(book, request.request_id), caller.principal, request.signature
                    )
                return drafts

            return review

        act = "approve" if request.verdict == "approve" else f"review ({request.verdict})"
        return await self._change(context, act, request.request_id, decide)

    async def Comment(self, request: wire.CommentRequest, context: Context) -> wire.CommentReply:
        """Say something about a request, run or content."""
        return await self._answer(context, lambda caller: self._comment(request, caller))

    def _comment(self, request: wire.CommentRequest, caller: Caller) -> wire.CommentReply:
        name = request.target.upper()
        if name.startswith("R-"):
            self._ledger.act(
                caller, lambda book, _now: rules.comment(book, caller, name, request.text)
            )
            return wire.CommentReply(target=name)
        target = self._questions.target(request.target)
        self._ledger.act(caller, lambda _book, _now: rules.note(caller, target, request.text))
        return wire.CommentReply(target=target)

    async def Claim(self, request: wire.ClaimRequest, context: Context) -> wire.ClaimReply:
        """Take it in hand: of all that try, one."""
        return await self._answer(context, lambda caller: self._claim(request, caller))

    def _claim(self, request: wire.ClaimRequest, caller: Caller) -> wire.ClaimReply:
        claim_id = f"whc-{secrets.token_hex(8)}"
        records = self._ledger.act(
            caller,
            named("claim", request.request_id, lambda book, now: rules.claim(
                book, caller, request.request_id, claim_id, request.host, now
            )),
        )  # fmt: skip
        content = records[-1].content
        return wire.ClaimReply(
            claim_id=content["claim"],
            until_unix_ns=content["until_unix_ns"],
            request=self._detail(records[-1].subject),
        )

    async def LinkRun(self, request: wire.LinkRunRequest, context: Context) -> wire.RequestDetail:
        """Say by hand that a run answers a request."""

        def decide(caller: Caller) -> Callable[[Book, int], list[Draft]]:
            run_id = self._questions.run_id(request.run_id)
            return lambda book, _now: answers.link_by_hand(
                book, caller, request.request_id, run_id, request.reason
            )

        return await self._change(context, "link", request.request_id, decide)

    # Questions --------------------------------------------------------------------------------

    async def Get(self, request: wire.GetRequest, context: Context) -> wire.RequestDetail:
        """One request in full."""
        return await self._answer(context, lambda _caller: self._detail(request.request_id))

    async def List(self, request: wire.ListRequest, context: Context) -> wire.ListReply:
        """Requests, newest first."""
        self._ledger_tick()
        return await self._answer(
            context,
            lambda caller: self._ledger.read(
                lambda book: answers.list_requests(book, caller, request)
            ),
        )

    async def Why(self, request: wire.WhyRequest, context: Context) -> wire.WhyReply:
        """Requests and decisions along a lineage."""
        return await self._answer(
            context, lambda _caller: self._questions.why(request.target, self._ledger)
        )

    async def WhoAmI(self, request: wire.WhoAmIRequest, context: Context) -> wire.WhoAmIReply:
        """Who the caller is."""
        return await self._answer(context, answers.who)

    async def Watch(
        self, request: wire.WatchRequest, context: Context
    ) -> AsyncIterator[wire.TimelineEntry]:
        """Stream what happens."""
        after = request.after_number
        if not after and not request.history:
            after = self._ledger.read(lambda book: book.head.number)
        with self._ledger.watching() as bell:
            while True:
                records = await asyncio.to_thread(self._ledger.records, after, AUDIT_PAGE)
                for record in records:
                    if request.request_id in ("", record.subject):
                        yield entry(record)
                after = records[-1].number if records else after
                if len(records) < AUDIT_PAGE:
                    await bell.wait()

    async def CheckTables(
        self, request: wire.CheckTablesRequest, context: Context
    ) -> wire.CheckTablesReply:
        """Compare tables and memory with the records on the disk."""
        return await self._answer(context, lambda _caller: self._tables())

    def _tables(self) -> wire.CheckTablesReply:
        found = self._ledger.check_tables()
        return wire.CheckTablesReply(
            faults=found.faults, rows=found.rows, records=found.head.number
        )

    async def Audit(
        self, request: wire.AuditRequest, context: Context
    ) -> AsyncIterator[wire.AuditRecord]:
        """Stream the chain."""
        after, left = request.after_number, request.limit or 1 << 62
        while left > 0:
            page = await asyncio.to_thread(self._ledger.records, after, min(left, AUDIT_PAGE))
            for record in page:
                yield audit_record(record)
            if not page:
                return
            after, left = page[-1].number, left - len(page)

    # ------------------------------------------------------------------------------------------

    async def _change(
        self,
        context: Context,
        act: str,
        request_id: str,
        decide: Callable[[Caller], Callable[[Book, int], list[Draft]]],
    ) -> wire.RequestDetail:
        def change(caller: Caller) -> wire.RequestDetail:
            subject = self._ledger.read(lambda book: rules.find(book, request_id).request_id)
            self._ledger.act(caller, named(act, subject, decide(caller)))
            return self._detail(subject)

        return await self._answer(context, change)

    def _detail(self, request_id: str) -> wire.RequestDetail:
        return self._questions.detail(request_id, self._ledger)

    def _ledger_tick(self) -> None:
        self._ledger.tick()


def subjects(records: list[Record]) -> list[str]:
    """Return what records are about, each once."""
    return list(dict.fromkeys(record.subject for record in records))
