"""The services that answer from lineage beside Query: they share one graph in memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from whence_collector import tree_register
from whence_collector.aftermath import Aftermath
from whence_collector.ancestry_service import AncestryService
from whence_collector.errors import StorageUnavailable
from whence_collector.graph import Graph
from whence_collector.tag_service import TagService
from whence_proto.v1 import ancestry_pb2_grpc, tags_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc.aio
    from prometheus_client.core import Metric

    from whence_collector.store import Store


NAME = "whence_collector_running_repeats"
TEXT = "Runs that repeat an earlier run now: `whence duplicates --running` tells which."
RUNNING_REPEATS = """
SELECT count(DISTINCT p.run_id) FROM repeat p JOIN run r ON r.run_id = p.run_id
WHERE r.status = 'running'
"""


def add_services(server: grpc.aio.Server, store: Store) -> None:
    """Add them to a server that has not started."""
    graph = Graph()
    tags_pb2_grpc.add_TagsServicer_to_server(TagService(store, graph), server)
    ancestry_pb2_grpc.add_AncestryServicer_to_server(AncestryService(store, graph), server)


class RunningRepeats(Collector):
    """How many runs repeat an earlier one now, asked for at each scrape."""

    def __init__(self, store: Callable[[], Store | None]) -> None:
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking for them."""
        yield GaugeMetricFamily(NAME, TEXT)

    def collect(self) -> Iterator[Metric]:
        """Give the number; nothing while the database cannot be read."""
        store = self._store()
        if store is None:
            return
        with suppress(StorageUnavailable), store.cursor() as reader:
            ((count,),) = reader.rows(RUNNING_REPEATS)
            yield GaugeMetricFamily(NAME, TEXT, count)


class AncestryFamily:
    """The services, and the task that works out trees and repeats for them."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self.metrics = RunningRepeats(lambda: self._store)

    def add(self, server: grpc.aio.Server, store: Store) -> None:
        """Add the services to a server that has not started."""
        self._store = store
        tree_register.clear(store)
        add_services(server, store)

    async def run(self) -> None:
        """Look after runs until cancelled; add() comes before."""
        if self._store is not None:
            await Aftermath(self._store).run()
