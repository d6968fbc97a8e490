"""The services that answer from lineage beside Query: they share one graph in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.aftermath import Aftermath
from whence_collector.ancestry_service import AncestryService
from whence_collector.graph import Graph
from whence_collector.tag_service import TagService
from whence_proto.v1 import ancestry_pb2_grpc, tags_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    from whence_collector.store import Store


def add_services(server: grpc.aio.Server, store: Store) -> None:
    """Add them to a server that has not started."""
    graph = Graph()
    tags_pb2_grpc.add_TagsServicer_to_server(TagService(store, graph), server)
    ancestry_pb2_grpc.add_AncestryServicer_to_server(AncestryService(store, graph), server)


class AncestryFamily:
    """The services, and the task that works out trees and repeats for them."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def add(self, server: grpc.aio.Server, store: Store) -> None:
        """Add the services to a server that has not started."""
        self._store = store
        add_services(server, store)

    async def run(self) -> None:
        """Look after runs until cancelled; add() comes before."""
        if self._store is not None:
            await Aftermath(self._store).run()
