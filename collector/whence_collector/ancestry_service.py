"""The Ancestry servicer: takes questions off the event loop; trees come in piece by piece."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from whence_collector.answers_compare import compare
from whence_collector.answers_remake import recipe
from whence_collector.answers_repeats import duplicates
from whence_collector.answers_roots import root_inputs
from whence_collector.answers_touched import touched
from whence_collector.answers_trees import find_tree, tree_message
from whence_collector.answers_who import who
from whence_collector.caveats import caveats, heard_lately
from whence_collector.errors import InvalidRequest
from whence_collector.tree_register import Registration
from whence_proto.tree_digest import Member
from whence_proto.v1 import ancestry_pb2 as wire
from whence_proto.v1 import ancestry_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio

    from whence_collector.graph import Graph
    from whence_collector.store import Reader, Store

    Context = grpc.aio.ServicerContext[Any, Any]

Reply = TypeVar("Reply")
Hedged = TypeVar("Hedged", wire.TouchedReply, wire.RootInputsReply, wire.DuplicatesReply)

DIGEST_BYTES = 32


class AncestryService(ancestry_pb2_grpc.AncestryServicer):
    """Answers from the store and the graph of runs; each question runs on a worker thread."""

    def __init__(self, store: Store, graph: Graph) -> None:
        self._store = store
        self._graph = graph

    async def FindTree(  # noqa: N802 -- gRPC names the method
        self, request: wire.FindTreeRequest, context: Context
    ) -> wire.FindTreeReply:
        """Trees by digest, folder or member."""
        return await self._answer(lambda reader: find_tree(reader, request))

    async def RegisterTree(  # noqa: N802 -- gRPC names the method
        self, request_iterator: AsyncIterator[wire.TreeMembers], context: Context
    ) -> wire.Tree:
        """Make a tree known; nothing of a stream that breaks is kept."""
        coming = await asyncio.to_thread(Registration, self._store)
        try:
            async for message in request_iterator:
                await asyncio.to_thread(lambda part=message: coming.add(_members(part)))  # type: ignore[misc]
            _must_have(coming.count)
            tree = await asyncio.to_thread(coming.finish, "dataset", time.time_ns())
        except BaseException:
            coming.drop()
            raise
        return tree_message(tree)

    async def Touched(self, request: wire.TouchedRequest, context: Context) -> wire.TouchedReply:  # noqa: N802 -- gRPC names the method
        """Whether the ancestry read given contents."""
        return await self._answer(
            lambda reader: _hedged(reader, touched(reader, self._graph, request))
        )

    async def RootInputs(  # noqa: N802 -- gRPC names the method
        self, request: wire.RootInputsRequest, context: Context
    ) -> wire.RootInputsReply:
        """Data that no observed run made."""
        return await self._answer(
            lambda reader: _hedged(reader, root_inputs(reader, self._graph, request))
        )

    async def Compare(self, request: wire.CompareRequest, context: Context) -> wire.CompareReply:  # noqa: N802 -- gRPC names the method
        """What differs."""
        return await self._answer(lambda reader: compare(reader, self._graph, request))

    async def Who(self, request: wire.WhoRequest, context: Context) -> wire.WhoReply:  # noqa: N802 -- gRPC names the method
        """People and agents."""
        return await self._answer(lambda reader: who(reader, self._graph, request))

    async def Recipe(self, request: wire.RecipeRequest, context: Context) -> wire.RecipeReply:  # noqa: N802 -- gRPC names the method
        """How to make it again."""
        return await self._answer(lambda reader: recipe(reader, self._graph, request))

    async def Duplicates(  # noqa: N802 -- gRPC names the method
        self, request: wire.DuplicatesRequest, context: Context
    ) -> wire.DuplicatesReply:
        """Runs that repeat earlier ones."""
        return await self._answer(lambda reader: _hedged(reader, duplicates(reader, request)))

    async def _answer(self, work: Callable[[Reader], Reply]) -> Reply:
        def answer() -> Reply:
            with self._store.cursor() as reader:
                self._graph.follow(reader)
                return work(reader)

        return await asyncio.to_thread(answer)


def _hedged(reader: Reader, reply: Hedged) -> Hedged:
    """Say with an answer what could hide more; a "yes" needs none of it."""
    if not isinstance(reply, wire.TouchedReply) or reply.verdict != "yes":
        reply.caveats.extend(caveats(reader, heard_lately(reader, time.time_ns())))
    return reply


def _must_have(count: int) -> None:
    if not count:
        raise InvalidRequest("the tree has no members; name a folder that holds files")


def _members(message: wire.TreeMembers) -> list[Member]:
    """Return the members of a message; raises InvalidRequest."""
    if not len(message.path) == len(message.blake3) == len(message.size_bytes):
        raise InvalidRequest("path, blake3 and size_bytes are not equally long; send one of each")
    for path, digest in zip(message.path, message.blake3, strict=True):
        parts = path.split("/")
        if len(digest) != DIGEST_BYTES or not path or {"", ".", ".."} & set(parts):
            raise InvalidRequest(
                f"{path!r} is no member; send a path below the folder and a digest of 32 bytes"
            )
    rows = zip(message.path, message.blake3, message.size_bytes, strict=True)
    return [Member(*row) for row in rows]
