"""The collector's own few numbers for Prometheus, and the page that serves them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from whence_collector.errors import AddressUnusable

COMMIT_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Counters and gauges in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches = Counter(
            "whence_collector_batches",
            "Batches by outcome: stored, duplicate, invalid, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.rows = Counter(
            "whence_collector_rows", "Rows of the wire that were stored.", registry=self.registry
        )
        self.lost = Counter(
            "whence_collector_lost_records",
            "Records known to be lost, by class.",
            ["record_class"],
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "whence_collector_commit_seconds",
            "Time of one commit with all that it derives.",
            buckets=COMMIT_SECONDS,
            registry=self.registry,
        )
        self.settle_seconds = Gauge(
            "whence_collector_settle_seconds",
            "Time that the last settling of the ledger took.",
            registry=self.registry,
        )
        self.ledger_entries = Counter(
            "whence_collector_ledger_entries",
            "Entries added to the ledger.",
            registry=self.registry,
        )
        self.ledger_corrections = Counter(
            "whence_collector_ledger_corrections",
            "Entries that correct earlier ones.",
            registry=self.registry,
        )
        self.prices_invalid = Gauge(
            "whence_collector_prices_invalid",
            "1 while the price file has a mistake and the prices before it stay in force.",
            registry=self.registry,
        )
        self.connected_daemons = Gauge(
            "whence_collector_connected_daemons",
            "Hosts whose daemon has a stream open.",
            registry=self.registry,
        )
        self.storage_failing = Gauge(
            "whence_collector_storage_failing",
            "1 while commits fail, else 0.",
            registry=self.registry,
        )
        self.throttled_seconds = Counter(
            "whence_collector_throttled_seconds",
            "Time for which streams of hosts that send too much were left unread.",
            registry=self.registry,
        )
        self._add_canaries()

    def _add_canaries(self) -> None:
        self.canary_age_seconds = Gauge(
            "whence_collector_canary_age_seconds",
            "Time since the start of the last canary that arrived, by host.",
            ["host"],
            registry=self.registry,
        )
        self.canary_failing = Gauge(
            "whence_collector_canary_failing",
            "1 while a connected host's canary is late or lacks edges, else 0.",
            ["host"],
            registry=self.registry,
        )


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """A running page; stop() ends it."""

    server: WSGIServer
    thread: Thread

    def stop(self) -> None:
        """Close the port and wait for the thread."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve(metrics: Metrics, host: str, port: int) -> MetricsPage:
    """Start the page.

    Raises AddressUnusable where the port is taken.
    """
    try:
        server, thread = start_http_server(port, host.strip("[]"), metrics.registry)
    except OSError as error:
        raise AddressUnusable(
            f"cannot serve metrics on {host}:{port} ({error.strerror}); "
            "stop what listens there or choose another --address"
        ) from error
    return MetricsPage(server, thread)
