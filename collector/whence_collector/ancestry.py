"""The services that answer from lineage beside Query: they share one graph in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.graph import Graph
from whence_collector.tag_service import TagService
from whence_proto.v1 import tags_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    from whence_collector.store import Store


def add_services(server: grpc.aio.Server, store: Store) -> None:
    """Add them to a server that has not started."""
    graph = Graph()
    tags_pb2_grpc.add_TagsServicer_to_server(TagService(store, graph), server)
