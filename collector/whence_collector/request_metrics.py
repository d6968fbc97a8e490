"""Requests for Prometheus, counted from the book when asked: nothing to keep in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from whence_collector.budget_end import PHASES
from whence_collector.request_book import UNDER_WAY
from whence_collector.request_progress import MARKS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from whence_collector.request_book import Book
    from whence_collector.request_ledger import RequestLedger
    from whence_collector.webhook import Webhook

# Requests under way with series of their own, those that spent most of their budget; more are only
# counted. All families together stay under 400 series whatever runs.
SHOWN = 40


class RequestMetrics(Collector):
    """Gives families of metrics at each scrape."""

    def __init__(
        self, ledger: Callable[[], RequestLedger | None], webhook: Webhook | None = None
    ) -> None:
        self._ledger, self._webhook = ledger, webhook

    def collect(self) -> Iterator[Metric]:
        """Yield what the book says now."""
        ledger = self._ledger()
        if ledger is None:
            return
        yield from ledger.read(_families)
        refused = CounterMetricFamily(
            "whence_approvals_refused", "Acts that a rule refused, by rule.", labels=["reason"]
        )
        for code, number in ledger.refusals.items():
            refused.add_metric([code], number)
        yield refused
        chain = GaugeMetricFamily("whence_audit_records", "Records of the audit chain.")
        chain.add_metric([], ledger.book.head.number)
        yield chain
        intact = GaugeMetricFamily(
            "whence_audit_intact", "1 while chain and tables were found whole at the start."
        )
        intact.add_metric([], 0 if ledger.faults else 1)
        yield intact
        if self._webhook is not None:
            events = CounterMetricFamily(
                "whence_webhook_events", "Events by outcome: sent, failed.", labels=["outcome"]
            )
            events.add_metric(["sent"], self._webhook.sent)
            events.add_metric(["failed"], self._webhook.failed)
            yield events


def _families(book: Book) -> list[Metric]:
    states = GaugeMetricFamily(
        "whence_requests", "Requests by state and kind of requester.", labels=["state", "kind"]
    )
    counted = Counter((each.state.value, each.requester_kind) for each in book.requests.values())
    for labels, number in counted.items():
        states.add_metric(list(labels), number)
    under_way = [each for each in book.requests.values() if each.state in UNDER_WAY]
    budget = GaugeMetricFamily(
        "whence_request_budget_usd", "Budget of requests under way.", labels=["request"]
    )
    spent = GaugeMetricFamily(
        "whence_request_spent_ratio",
        "Highest mark of its budget that a request under way reached.",
        labels=["request"],
    )
    for each in sorted(under_way, key=lambda each: -each.reached)[:SHOWN]:
        budget.add_metric([each.request_id], each.card.budget_micro_usd / 1e6)
        spent.add_metric([each.request_id], each.reached / 100)
    hidden = GaugeMetricFamily("whence_requests_truncated", "Requests without series of their own.")
    hidden.add_metric([], max(0, len(under_way) - SHOWN))
    unrequested = CounterMetricFamily(
        "whence_unrequested_runs", "Runs that held GPUs and answer no request."
    )
    unrequested.add_metric([], len(book.unrequested))
    return [states, budget, spent, hidden, unrequested, *_money(book)]


def _money(book: Book) -> list[Metric]:
    """Marks of budgets and ends of runs; a request counts once in each that it reached."""
    marks = CounterMetricFamily(
        "whence_request_budget_marks", "Requests that reached a share of their budget, in percent.",
        labels=["percent"],
    )  # fmt: skip
    for mark in MARKS:
        reached = sum(each.reached >= mark for each in book.requests.values())
        marks.add_metric([str(mark)], reached)
    ends = CounterMetricFamily(
        "whence_budget_ends", "Ends of runs that were ordered, by how far hosts are.",
        labels=["phase"],
    )  # fmt: skip
    ordered = [each.ending for each in book.requests.values() if each.ending is not None]
    phases = Counter(host.phase for ending in ordered for host in ending.hosts.values())
    for phase in PHASES:
        ends.add_metric([phase], phases[phase])
    return [marks, ends]
