"""Carries orders to end runs: which hosts and processes they mean, and what hosts told.

Reads the database and the streams of daemons; what is decided is in budget_end.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import budget_end
from whence_collector.audit_chain import Draft
from whence_collector.budget_end import LAST, TERM_S, grace_left_s, not_obeyed, rule_of
from whence_collector.lookups import among
from whence_proto.v1 import ingest_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.order_desk import OrderDesk, Told
    from whence_collector.request_book import Book, Request
    from whence_collector.store import Reader

# An image that another replaced is the same process still: of each, the newest image counts.
LIVING = """
SELECT DISTINCT h.name, b.boot_uuid, p.tgid, p.start_ns
FROM process_run r
JOIN process p USING (process_id)
JOIN boot b ON b.boot_id = p.boot_id
JOIN host h USING (host_id)
LEFT JOIN process_end e ON e.process_id = p.process_id
WHERE e.process_id IS NULL AND """


@dataclass(frozen=True, slots=True)
class Living:
    """A process of a run that lives, as far as is known."""

    host: str
    boot_uuid: str
    pid: int
    start_ns: int


def living(reader: Reader, run_ids: list[str]) -> list[Living]:
    """Return the processes of runs that have not ended."""
    if not run_ids:
        return []
    condition, params = among("r.run_id", run_ids)
    return [Living(*row) for row in reader.rows(f"{LIVING}{condition}", params)]


class BudgetOrders:
    """Orders of requests over their budgets."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk

    def drafts(
        self, reader: Reader, book: Book, request: Request, family: list[str], spent_micro_usd: int
    ) -> list[Draft]:
        """Return what has become due: an order, or that a host would refuse one."""
        rule = rule_of(book.policy, request.card)
        if rule is None or request.ending is not None:
            return []
        hosts = sorted({each.host for each in living(reader, family)})
        refusing = [host for host in hosts if self._desk.obeys(host) is False]
        return [
            *not_obeyed(request, rule, refusing),
            *budget_end.order(request, rule, spent_micro_usd, hosts),
        ]

    def send(self, reader: Reader, request: Request, family: list[str], now_unix_ns: int) -> None:
        """Send the order, again until its host's last report: nothing of it hangs on one stream."""
        ending = request.ending
        if ending is None or ending.phase in LAST:
            return
        alive = living(reader, family)
        for host, state in ending.hosts.items():
            if state.phase in LAST:
                continue
            asked, left_s = grace_left_s(ending, host, now_unix_ns)
            self._desk.send(
                host,
                wire.EndOrder(
                    order_id=ending.order_id,
                    processes=[
                        wire.OrderedProcess(pid=each.pid, start_ns=each.start_ns)
                        for each in alive
                        if each.host == host
                    ],
                    checkpoint_signal=ending.rule.checkpoint_signal,
                    grace_ms=round(left_s * 1000),
                    term_ms=TERM_S * 1000,
                    checkpoint_asked=asked,
                    reason=f"{request.request_id} spent its budget",
                ),
            )

    def heard(self) -> list[Told]:
        """Return what hosts told since the last call."""
        return self._desk.heard()


def told_of(book: Book, told: Told) -> list[Draft]:
    """Return what a report adds to the records of its request."""
    report = told.report
    for request in book.requests.values():
        if request.ending is not None and request.ending.order_id == report.order_id:
            return budget_end.told(
                request, told.host, report.phase, signalled=report.signalled, left=report.left,
                text=report.text,
            )  # fmt: skip
    return []
