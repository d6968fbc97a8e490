"""Puts the parts of requests together, and adds their servicer to the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from whence_collector.errors import StorageUnavailable
from whence_collector.graph import Graph
from whence_collector.order_desk import OrderDesk
from whence_collector.principals import Kind
from whence_collector.request_answers import Questions
from whence_collector.request_callers import Callers, token_sha256
from whence_collector.request_ledger import RequestLedger
from whence_collector.request_metrics import RequestMetrics
from whence_collector.request_runs import RunFacts
from whence_collector.request_watch import RequestWatch
from whence_collector.requests import RequestService
from whence_collector.vouching import Vouching, local_token
from whence_collector.webhook import Webhook
from whence_proto.v1 import request_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    from whence_collector.store import Store


LOG = logging.getLogger("whence.requests")
TICK_S = 5.0


class RequestFamily:
    """Requests of one collector; add() is called once the store is open.

    webhook: where each event is posted, None for nowhere.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], int] = time.time_ns, webhook: str | None = None
    ) -> None:
        self._folder, self._clock = folder, clock
        self._webhook = Webhook(webhook) if webhook else None
        self.metrics = RequestMetrics(lambda: self.ledger, self._webhook)
        self._local_sha256 = ""
        self.vouching = Vouching(clock, self._is_node_token)
        self.orders = OrderDesk()
        self.orders.is_node_token = self._is_node_token
        self.ledger: RequestLedger | None = None

    def add(self, server: grpc.aio.Server, store: Store) -> None:
        """Add the servicer to the server that everybody reaches."""
        self._local_sha256 = token_sha256(local_token(self._folder))
        graph = Graph()
        self.ledger = RequestLedger(store, self._clock)
        if self._webhook is not None:
            self.ledger.on_record.append(self._webhook)
        facts = RunFacts(graph)
        self.watch = RequestWatch(store, self.ledger, graph, facts, self.orders, self._clock)
        questions = Questions(store, graph, facts, self._clock)
        questions.use(self.ledger)
        callers = Callers(self.vouching, self._clock)
        self.service = RequestService(self.ledger, callers, questions, self._clock)
        request_pb2_grpc.add_RequestsServicer_to_server(self.service, server)
        self.for_administrators = RequestService(
            self.ledger, Callers(self.vouching, self._clock, on_socket=True), questions, self._clock
        )

    def add_chores(self, server: grpc.aio.Server) -> None:
        """Add the servicer to the administrator's socket: who reaches it may manage principals."""
        request_pb2_grpc.add_RequestsServicer_to_server(self.for_administrators, server)

    async def run(self) -> None:
        """Do what time brings, until cancelled."""
        while self.ledger is not None:
            await asyncio.sleep(TICK_S)
            try:
                await asyncio.to_thread(self.watch.step)
            except StorageUnavailable as error:
                LOG.warning("requests wait for the database: %s", error)

    def _is_node_token(self, token: str) -> bool:
        sha256 = token_sha256(token)
        if sha256 == self._local_sha256:
            return True
        if self.ledger is None:
            return False
        book = self.ledger.book
        return any(
            each.sha256 == sha256
            and not each.revoked
            and each.expires_unix_ns > self._clock()
            and each.principal in book.principals
            and book.principals[each.principal].kind is Kind.NODE
            for each in book.tokens.values()
        )
