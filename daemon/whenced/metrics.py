"""Counters and gauges for Prometheus, on loopback.

May not compute anything: callers add, and states are asked for at each scrape. No label holds a
path or a process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whenced.spool import SpoolStats
from whenced.uplink import UplinkState

log = logging.getLogger(__name__)

RECORD_CLASSES = ("life", "touch", "name", "text", "aggregate", "row", "program", "sequence")
# A drain takes microseconds when idle; a second means that the rings overflow.
_DRAIN_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where states come from; called in the thread of a scrape."""

    spool: Callable[[], SpoolStats]
    uplink: Callable[[], UplinkState]


class Metrics:
    """The daemon's metrics; add to them from any thread."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry()
        self._records = {
            outcome: self._counter(f"records_{outcome}", f"Records {outcome} by class.", "class")
            for outcome in ("attempted", "received", "lost")
        }
        for counter in self._records.values():
            for record_class in RECORD_CLASSES:
                counter.labels(record_class)
        self.rows = self._counter("rows", "Rows put into batches.")
        self.batches = self._counter("batches", "Batches handed to the spool.")
        self.hash_jobs = self._counter("hash_jobs", "Hash jobs ended, by state.", "state")
        self.hashed_bytes = self._counter("hashed_bytes", "Bytes of content read for digests.")
        self.drain_seconds = Histogram(
            "whence_daemon_drain_seconds",
            "Time to take what the rings held.",
            buckets=_DRAIN_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_States(sources))
        self._server: tuple[WSGIServer, Thread] | None = None

    def page(self) -> bytes:
        """Return them as text for a scrape."""
        return generate_latest(self.registry)

    def register(self, source: Collector) -> None:
        """Serve what another part knows, too."""
        self.registry.register(source)

    def count_records(self, record_class: str, attempted: int, received: int, lost: int) -> None:
        """Add what happened to records of one class since the last call."""
        self._records["attempted"].labels(record_class).inc(attempted)
        self._records["received"].labels(record_class).inc(received)
        self._records["lost"].labels(record_class).inc(lost)

    def serve(self, host: str, port: int) -> bool:
        """Serve them; False, with a line in the log, when the port is taken.

        Lineage is worth more than its metrics: the daemon goes on without.
        """
        try:
            self._server = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            log.warning(
                "no metrics on %s:%d (%s): set metrics_port to a free port, or 0 for none",
                host,
                port,
                error.strerror,
            )
            return False
        return True

    @property
    def port(self) -> int | None:
        """Port that is served, None when none is."""
        return self._server[0].server_port if self._server else None

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join(1.0)
            self._server = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"whence_daemon_{name}", text, labels, registry=self.registry)


class _States(Collector):
    """Metrics that are asked for, not added to."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Give the families of one scrape."""
        spool, uplink = self._sources.spool(), self._sources.uplink()
        yield from _gauges(
            ("spool_batches", "Batches that are not acked.", spool.batches),
            ("spool_disk_bytes", "Space that they take on disk.", spool.disk_bytes),
            ("spool_memory_bytes", "Of those not written yet.", spool.memory_bytes),
            ("spool_writable", "1 when the disk takes batches.", spool.storage_error is None),
            ("uplink_connected", "1 while the stream is open.", uplink.connected),
            ("uplink_unacked_batches", "Batches sent, not acked.", uplink.unacked_batches),
        )
        yield from _counters(
            ("damaged_batches", "Batches set aside: torn or refused.", spool.damaged_batches),
            ("unkept_batches", "Batches for which there was no room.", spool.refused_batches),
            ("lost_rows", "Rows of all these.", spool.lost_rows),
        )


def _gauges(*rows: tuple[str, str, float]) -> Iterable[Metric]:
    return (GaugeMetricFamily(f"whence_daemon_{name}", text, value) for name, text, value in rows)


def _counters(*rows: tuple[str, str, float]) -> Iterable[Metric]:
    return (CounterMetricFamily(f"whence_daemon_{name}", text, value) for name, text, value in rows)
