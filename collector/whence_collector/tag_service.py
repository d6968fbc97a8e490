"""The Tags servicer: what is said goes through the writer, what is asked through a reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from whence_collector.answers_tags import add_tags, list_tags
from whence_proto.v1 import tags_pb2 as wire
from whence_proto.v1 import tags_pb2_grpc

if TYPE_CHECKING:
    import grpc.aio

    from whence_collector.graph import Graph
    from whence_collector.store import Store

    Context = grpc.aio.ServicerContext[Any, Any]


class TagService(tags_pb2_grpc.TagsServicer):
    """Answers from the store; statements are appended, never changed."""

    def __init__(self, store: Store, graph: Graph) -> None:
        self._store = store
        self._graph = graph

    async def Tag(self, request: wire.TagRequest, context: Context) -> wire.TagReply:  # noqa: N802 -- gRPC names the method
        """Say something about one subject."""
        return await asyncio.wrap_future(self._store.write(add_tags(request, self._graph)))

    async def ListTags(  # noqa: N802 -- gRPC names the method
        self, request: wire.ListTagsRequest, context: Context
    ) -> wire.ListTagsReply:
        """What is said of one subject, or of all."""

        def answer() -> wire.ListTagsReply:
            with self._store.cursor() as reader:
                self._graph.follow(reader)
                return list_tags(reader, self._graph, request)

        return await asyncio.to_thread(answer)
