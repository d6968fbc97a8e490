"""A machine with the services of lineage beside it, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.asked import Asked
from tests.unit.traced import NOON_NS, Machine

from whence_collector.aftermath import Aftermath
from whence_collector.ancestry_service import AncestryService
from whence_collector.graph import Graph


class Ancestry(Asked):
    """Asks about ancestry; settle() lets what is worked out beside ingest be worked out."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.now_ns: int | None = None
        self.service: Any = AncestryService(machine.store, Graph())
        self._aftermath = Aftermath(machine.store, lambda: self.now_ns or machine.host.now_ns)

    def settle(self, after_s: float = 0) -> None:
        """Deliver what happened and look after it, some seconds later."""
        self.machine.deliver()
        self.now_ns = self.host.now_ns + int(after_s * 1_000_000_000)
        self._aftermath.step()

    def about(self, name: str, request: Any) -> Any:
        """Ask one question about ancestry."""
        return asyncio.run(getattr(self.service, name)(request, None))


__all__ = ["NOON_NS", "Ancestry"]
