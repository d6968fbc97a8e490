"""The task that keeps the ledger level: wakes about once a second, writes when something came."""

from __future__ import annotations

import asyncio
import logging
import time

from whence_collector.errors import StorageUnavailable
from whence_collector.metrics import Metrics
from whence_collector.recorder import Recorder
from whence_collector.settle import Settler
from whence_collector.store import Store

LOG = logging.getLogger("whence.accounting")

PACE_S = 1.0


class Accounting:
    """Runs until cancelled. May not decide what anything costs: settle.py does."""

    def __init__(
        self, store: Store, recorder: Recorder, settler: Settler, metrics: Metrics
    ) -> None:
        self._store, self._recorder = store, recorder
        self._settler, self._metrics = settler, metrics

    async def run(self) -> None:
        """Settle whenever GPU rows came or the price file changed, until cancelled."""
        self._recorder.saw_gpus = True  # what came before a restart may not be settled yet
        while True:
            await self.step()
            await asyncio.sleep(PACE_S)

    async def step(self) -> None:
        """Settle once if there is reason to."""
        if not (self._recorder.saw_gpus or self._settler.has_work()):
            return
        self._recorder.saw_gpus = False
        began = time.perf_counter()
        writing = self._store.write(lambda writer: self._settler.step(writer, time.time_ns()))
        try:
            done = await asyncio.wrap_future(writing)
        except StorageUnavailable as error:
            LOG.warning("the ledger waits: %s", error)
            self._settler.prices.forget()
            self._recorder.saw_gpus = True
            return
        self._metrics.settle_seconds.set(time.perf_counter() - began)
        self._metrics.ledger_entries.inc(done.entries)
        self._metrics.ledger_corrections.inc(done.corrected + done.repriced)
        self._metrics.prices_invalid.set(self._settler.prices.error is not None)
