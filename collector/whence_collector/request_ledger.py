"""The one place that changes requests: decide, chain, write in one transaction, then tell.

A lock makes acts follow each other, so that a decision always rests on what is on the disk. What
the rules refuse writes nothing, except attempts to decide, which are recorded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from whence_collector import request_rows as rows
from whence_collector.audit_chain import Draft, Head, Record, Verdict, follow, verify
from whence_collector.errors import CollectorError, RefusedAct, StorageUnavailable
from whence_collector.principals import SYSTEM
from whence_collector.request_book import Book
from whence_collector.request_rules import due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from whence_collector.principals import Caller
    from whence_collector.store import Reader, Store, Writer
    from whence_collector.table_check import TableCheck

LOG = logging.getLogger("whence.requests")

PAGE = 5_000
# Refusals that tell of somebody trying what is not theirs; the rest are slips.
RECORDED = frozenset(
    {"agent", "ancestry", "self", "own-agent", "limit", "role", "reviewer", "relayed", "cap"}
)
SAME_REFUSAL_NS = 60_000_000_000

Answer = TypeVar("Answer")


class RequestLedger:
    """The book, its chain and its tables."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.RLock()
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._refused: dict[tuple[str, str, str, str], int] = {}
        self.on_record: list[Callable[[Record], None]] = []
        self.refusals: dict[str, int] = {}
        self._unreadable = ""  # why nothing may be added to the chain
        self.faults: tuple[str, ...] = ()  # what was wrong with chain or tables at the start
        self.book = Book()
        self._load()
        self.faults = self.check_tables().faults
        for fault in self.faults:
            LOG.error("requests are not as they were written: %s", fault)

    def _load(self) -> None:
        """Read the chain from its begin; a broken one is told by check_tables and still read."""
        book = Book()
        with self._store.cursor() as reader:
            for record in records_after(reader, 0):
                try:
                    book.apply(record)
                except (KeyError, IndexError, TypeError, ValueError, AssertionError):
                    # No program of ours wrote it so: what follows would rest on what is not there.
                    self._unreadable = (
                        f"the audit chain cannot be read beyond record {book.head.number}: "
                        "restore a copy of the database (whence-collector restore)"
                    )
                    break
        self.book = book

    def read(self, question: Callable[[Book], Answer]) -> Answer:
        """Answer from a book in which nothing is half done."""
        with self._lock:
            return question(self.book)

    def act(self, caller: Caller, decide: Callable[[Book, int], list[Draft]]) -> list[Record]:
        """Do what the rules decide, durably; RefusedAct where they refuse.

        Raises StorageUnavailable where the disk refuses: nothing has happened then.
        """
        with self._lock:
            now = self._clock()
            self._let_time_pass(now)
            try:
                drafts = decide(self.book, now)
            except RefusedAct as refusal:
                self._note_refusal(caller, decide, refusal, now)
                raise
            return self._keep(caller, drafts, now)

    def tick(self) -> None:
        """Do what time brings."""
        with self._lock:
            self._let_time_pass(self._clock())

    def _let_time_pass(self, now: int) -> None:
        for request in list(self.book.requests.values()):
            while drafts := due(self.book, request, now):
                self._keep(SYSTEM, drafts, now)

    def _note_refusal(
        self, caller: Caller, decide: Callable[[Book, int], list[Draft]], refusal: RefusedAct,
        now: int,
    ) -> None:  # fmt: skip
        self.refusals[refusal.code] = self.refusals.get(refusal.code, 0) + 1
        act, subject = getattr(decide, "act", ""), getattr(decide, "subject", "")
        if not act or refusal.code not in RECORDED:
            return
        same = (caller.principal.name, act, subject, refusal.code)
        # One record a minute for the same attempt: nobody fills the disk by trying again.
        if now - self._refused.get(same, -SAME_REFUSAL_NS) < SAME_REFUSAL_NS:
            return
        self._refused[same] = now
        content = {"act": act, "code": refusal.code, "reason": str(refusal)}
        self._keep(caller, [Draft("refused", subject, content)], now)

    def _keep(self, caller: Caller, drafts: list[Draft], now: int) -> list[Record]:
        records: list[Record] = []
        for draft in drafts:
            record = follow(self.book.head, now, caller.document(), draft)
            self.book.apply(record)
            records.append(record)
        if not records:
            return records
        if self._unreadable:
            self._load()  # a record that may not be written has not happened
            raise StorageUnavailable(self._unreadable)
        try:
            self._store.write(lambda writer: self._write(writer, records)).result()
        except BaseException:
            self._load()  # what the disk did not take has not happened
            raise
        for record in records:
            self._tell(record)
        return records

    def _write(self, writer: Writer, records: list[Record]) -> None:
        writer.append("audit_record", rows.record_columns(records))
        touched = [
            self.book.requests[subject]
            for subject in dict.fromkeys(each.subject for each in records)
            if subject in self.book.requests
        ]
        for request in touched:
            writer.execute(
                "DELETE FROM training_request WHERE request_id = ?", (request.request_id,)
            )
        writer.append("training_request", rows.request_columns(touched))
        writer.append("request_review", rows.decision_columns(records))
        writer.append("request_remark", rows.remark_columns(records))
        writer.append("request_run", rows.run_columns(records))

    def _tell(self, record: Record) -> None:
        for listener in self.on_record:
            listener(record)
        for loop, event in list(self._watchers):
            loop.call_soon_threadsafe(event.set)

    # Reading the chain ------------------------------------------------------------------------

    def records(self, after: int = 0, limit: int = 0) -> list[Record]:
        """Return records after a number, in their order."""
        with self._store.cursor() as reader:
            return list(records_after(reader, after, limit))

    def verify(self, expected: Head | None = None) -> Verdict:
        """Walk the chain on the disk."""
        with self._store.cursor() as reader:
            return verify(records_after(reader, 0), expected)

    def check_tables(self) -> TableCheck:
        """Compare the tables with the records, and the records with what this process knows."""
        from whence_collector.table_check import TableCheck, check_tables  # noqa: PLC0415 -- it reads records with this module

        before = self.read(lambda book: book.head)
        with self._store.cursor() as reader:
            found = check_tables(reader)
        if found.faults or found.head.number >= before.number:
            return found
        fault = (
            f"the chain on the disk ends at record {found.head.number}, but record "
            f"{before.number} was written: records were cut off its end"
        )
        return TableCheck((fault,), found.rows, found.head)

    def watching(self) -> Watching:
        """Return what wakes a coroutine of this loop after each change."""
        return Watching(self._watchers)


class Watching:
    """A bell that rings after each change, while the context lasts."""

    def __init__(self, watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        self._watchers = watchers
        self._entry = (asyncio.get_running_loop(), asyncio.Event())

    def __enter__(self) -> Watching:
        self._watchers.add(self._entry)
        return self

    def __exit__(self, *_: object) -> None:
        self._watchers.discard(self._entry)

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._entry[1].wait()
        self._entry[1].clear()


def records_after(reader: Reader, after: int, limit: int = 0) -> Iterator[Record]:
    """Yield records in the order of their numbers, a page at a time."""
    left, seen = limit or 1 << 62, 0
    while left > 0:
        # By position, not by the last number: a number that stands there twice must come twice.
        page = reader.rows(
            f"SELECT {rows.RECORD_COLUMNS} FROM audit_record WHERE number > ? "  # noqa: S608 -- our own names
            "ORDER BY number LIMIT ? OFFSET ?",
            (after, min(PAGE, left), seen),
        )
        if not page:
            return
        yield from (rows.record_of(row) for row in page)
        seen, left = seen + len(page), left - len(page)


def named(
    act: str, subject: str, decide: Callable[[Book, int], list[Draft]]
) -> Callable[[Book, int], list[Draft]]:
    """Give a decision the name under which a refusal of it is recorded."""
    return _Named(act, subject, decide)


class _Named:
    def __init__(self, act: str, subject: str, decide: Callable[[Book, int], list[Draft]]) -> None:
        self.act, self.subject, self._decide = act, subject, decide

    def __call__(self, book: Book, now: int) -> list[Draft]:
        return self._decide(book, now)


def told(records: Iterable[Record], action: str) -> Record | None:
    """Return the first record of an action."""
    return next((each for each in records if each.action == action), None)


__all__ = ["CollectorError", "RequestLedger", "Watching", "named", "records_after", "told"]
