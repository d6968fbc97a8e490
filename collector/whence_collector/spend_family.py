"""The servicer of Spend: each question on a cursor of its own, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio

from whence_collector import spend_now, spend_report
from whence_collector.spend_metrics import SpendMetrics
from whence_collector.store import Reader, Store
from whence_proto.v1 import spend_pb2 as wire
from whence_proto.v1 import spend_pb2_grpc

Answer = TypeVar("Answer")
ROWS_AT_ONCE = 1000
CHECK_AGAIN_S = 60.0  # charges change once a minute


class SpendService(spend_pb2_grpc.SpendServicer):
    """Answers from the ledger; errors.py names what it raises, status.py what becomes of it."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self._store, self._clock = store, clock
        self._violations, self._checked_s = 0, -CHECK_AGAIN_S - 1

    async def ReportSpend(  # noqa: N802 -- named by the service
        self, request: wire.ReportSpendRequest, context: Any
    ) -> wire.ReportSpendResponse:
        """Time and money by one dimension."""
        answer = await self._read(lambda reader: spend_report.report(reader, request))
        if time.monotonic() - self._checked_s > CHECK_AGAIN_S:
            self._violations = await self._read(spend_report.violations)
            self._checked_s = time.monotonic()
        answer.violations = self._violations
        return answer

    async def ReportWaste(  # noqa: N802 -- named by the service
        self, request: wire.ReportWasteRequest, context: Any
    ) -> wire.ReportWasteResponse:
        """Held time by what became of it."""
        return await self._read(lambda reader: spend_report.waste(reader, request))

    async def ReportCommitments(  # noqa: N802 -- named by the service
        self, request: wire.ReportCommitmentsRequest, context: Any
    ) -> wire.ReportCommitmentsResponse:
        """What commitments paid for."""
        now_ns = self._clock()
        return await self._read(lambda reader: spend_report.commitments(reader, request, now_ns))

    async def CostRuns(  # noqa: N802 -- named by the service
        self, request: wire.CostRunsRequest, context: Any
    ) -> wire.CostRunsResponse:
        """What runs cost together."""
        return await self._read(lambda reader: spend_report.cost_of_runs(reader, request))

    async def ExportCharges(  # noqa: N802 -- named by the service
        self, request: wire.ExportChargesRequest, context: Any
    ) -> AsyncIterator[wire.ExportChargesResponse]:
        """Charges, in pieces."""
        rows = await self._read(lambda reader: spend_report.charges(reader, request))
        for first in range(0, len(rows), ROWS_AT_ONCE):
            yield wire.ExportChargesResponse(rows=rows[first : first + ROWS_AT_ONCE])

    async def ShowNow(  # noqa: N802 -- named by the service
        self, request: wire.ShowNowRequest, context: Any
    ) -> wire.ShowNowResponse:
        """GPUs, holders, runs."""
        now_ns = self._clock()
        return await self._read(lambda reader: spend_now.show_now(reader, request, now_ns))

    async def _read(self, work: Callable[[Reader], Answer]) -> Answer:
        return await asyncio.to_thread(self._on_cursor, work)

    def _on_cursor(self, work: Callable[[Reader], Answer]) -> Answer:
        with self._store.cursor() as reader:
            return work(reader)


class SpendFamily:
    """Spend of one collector: its servicer and its metrics."""

    def __init__(self) -> None:
        self.metrics = SpendMetrics()

    def add(self, server: grpc.aio.Server, store: Store) -> None:
        """Serve Spend, and let the metrics read."""
        self.metrics.use(store)
        spend_pb2_grpc.add_SpendServicer_to_server(SpendService(store), server)
