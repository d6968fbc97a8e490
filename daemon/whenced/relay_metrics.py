"""The metrics page of a host, as HTTP on loopback: the daemon's and the relay's own."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whenced.metrics_socket import read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whenced.relay import Traffic

log: Final = logging.getLogger("whenced.relay")
PREFIX: Final = "whence_uplink"


class _Own(Collector):
    """The relay's numbers, and whether the daemon answered."""

    def __init__(self, traffic: Traffic, is_daemon_up: Callable[[], bool]) -> None:
        self._traffic, self._is_daemon_up = traffic, is_daemon_up

    def collect(self) -> Iterator[Metric]:
        """Give the families of one scrape."""
        traffic = self._traffic
        yield GaugeMetricFamily(f"{PREFIX}_streams_open", "Streams now.", traffic.connected)
        yield GaugeMetricFamily(
            f"{PREFIX}_daemon_up", "1 when whenced told its metrics.", float(self._is_daemon_up())
        )
        yield CounterMetricFamily(f"{PREFIX}_streams", "Streams so far.", traffic.streams)
        yield CounterMetricFamily(f"{PREFIX}_failures", "Streams that failed.", traffic.failures)
        yield CounterMetricFamily(f"{PREFIX}_sent_bytes", "Bytes passed up.", traffic.bytes_up)


class Page:
    """Puts the two together."""

    def __init__(self, daemon: Path, traffic: Traffic) -> None:
        self._daemon, self._is_daemon_up = daemon, False
        self._registry = CollectorRegistry()
        self._registry.register(_Own(traffic, lambda: self._is_daemon_up))

    def text(self) -> bytes:
        """Return the whole page; without the daemon's part when it does not answer."""
        try:
            of_daemon = read_page(self._daemon)
        except OSError as error:
            log.warning("no metrics from whenced at %s: %s", self._daemon, error.strerror)
            of_daemon = b""
        self._is_daemon_up = bool(of_daemon)
        return of_daemon + generate_latest(self._registry)


def serve(page: Page, host: str, port: int) -> ThreadingHTTPServer:
    """Serve the page until the server is shut down. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a reader that says nothing gives its thread back

        def do_GET(self) -> None:
            body = page.text()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep scrapes out of the log."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
