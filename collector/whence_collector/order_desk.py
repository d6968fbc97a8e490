"""Which daemons have a stream open now, to send them orders and to hear what became of these.

Memory only: what was ordered and told is kept by the ledger of requests, which asks again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from whence_proto.v1 import ingest_pb2 as wire

REPORTS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """What a daemon reported."""

    host: str
    report: wire.EndReport


@dataclass(eq=False, slots=True)
class _Line:
    """An open stream: how to put a message on it, from its own loop."""

    hello: wire.Hello
    loop: asyncio.AbstractEventLoop
    put: Callable[[wire.FromCollector], None]
    proven: bool


class OrderDesk:
    """Sends orders down the streams; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: defaultdict[str, list[_Line]] = defaultdict(list)
        self._told: deque[Told] = deque(maxlen=REPORTS_KEPT)
        # Whether a node token of a Hello is good; set by who knows tokens.
        self.is_node_token: Callable[[str], bool] = lambda _token: False

    @contextmanager
    def stream(
        self, hello: wire.Hello, put: Callable[[wire.FromCollector], None], *, proven: bool
    ) -> Iterator[Callable[[wire.EndReport], None]]:
        """Offer a daemon's stream while the block runs; gives what its reports are handed to.

        A stream that does not prove to be its host's daemon gets no order and is not believed.
        """
        good = proven or self.is_node_token(hello.node_token)
        line = _Line(hello, asyncio.get_running_loop(), put, good)
        with self._lock:
            self._lines[hello.host].append(line)
        try:
            yield lambda report: self._hear(line, report)
        finally:
            with self._lock:
                self._lines[hello.host].remove(line)

    def _hear(self, line: _Line, report: wire.EndReport) -> None:
        if line.proven:
            self._told.append(Told(line.hello.host, report))

    def obeys(self, host: str) -> bool | None:
        """Whether a host's settings let it obey; None while no daemon of it is connected."""
        line = self._newest(host)
        return None if line is None else line.hello.obeys_end_orders

    def send(self, host: str, order: wire.EndOrder) -> bool:
        """Order; False while the host's daemon has no stream open."""
        line = self._newest(host)
        if line is None:
            return False
        message = wire.FromCollector(end_order=order)
        message.end_order.boot_id = line.hello.boot_id
        try:
            line.loop.call_soon_threadsafe(line.put, message)
        except RuntimeError:  # the server's loop has closed
            return False
        return True

    def heard(self) -> list[Told]:
        """Return the reports since the last call, oldest first."""
        found = []
        while self._told:
            found.append(self._told.popleft())
        return found

    def _newest(self, host: str) -> _Line | None:
        with self._lock:
            good = [line for line in self._lines[host] if line.proven]
            return good[-1] if good else None
