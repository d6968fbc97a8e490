"""A collector that serves inside the test's process, and a daemon's side of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest

from whence_collector.config import Config
from whence_collector.presence import Presence
from whence_collector.query import QueryService
from whence_collector.resolved import ResolvedBatch
from whence_collector.server import Parts, serve
from whence_collector.store import Store, Writer
from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import ingest_pb2_grpc


class Witness:
    """A deriver that keeps what it is given, and fails on epochs named "bad"."""

    seen: list[ResolvedBatch]

    def __init__(self, seen: list[ResolvedBatch]) -> None:
        self.seen = seen

    def take_paths(self, first_path_id: int, paths: Sequence[str], writer: Writer) -> None:
        """Look whether the paths have the ids that are told."""
        stored = writer.rows(
            "SELECT path FROM path WHERE path_id >= ? ORDER BY path_id", (first_path_id,)
        )
        assert [path for (path,) in stored] == list(paths)

    def begin(self, writer: Writer) -> None:
        """Nothing to look after."""

    def close(self, writer: Writer) -> None:
        """Nothing to leave behind."""

    def apply(self, batches: Sequence[ResolvedBatch], writer: Writer) -> None:
        """Keep the batches; their rows must be stored by now."""
        stored = writer.rows("SELECT count(*) FROM access")[0][0]
        assert stored >= sum(len(batch.accesses.op) for batch in batches)
        if any(batch.epoch == "bad" for batch in batches):
            raise KeyError("a fault of the deriver")
        self.seen.extend(batches)


class Bench:
    """A running collector in this process."""

    def __init__(self, data_dir: Path, port: int = 0, **settings: Any) -> None:
        self.data_dir = data_dir
        self.port = port
        self.settings = settings  # more fields of Config
        self.seen: list[ResolvedBatch] = []
        self.store: Store | None = None
        self.address = ""

    def run(self, talk: Callable[[Bench], Awaitable[Any]]) -> Any:
        """Serve while the talk lasts; return what it returns."""
        return asyncio.run(self._run(talk))

    async def _run(self, talk: Callable[[Bench], Awaitable[Any]]) -> Any:
        stopping, ready = asyncio.Event(), asyncio.Event()

        def say(address: str) -> None:
            self.address = address
            ready.set()

        def queries(store: Store, presence: Presence, version: str) -> QueryService:
            self.store = store
            return QueryService(store, presence, version)

        parts = Parts(lambda _: Witness(self.seen), queries)
        config = Config(
            "127.0.0.1", self.port, self.data_dir, self.data_dir / "instances", **self.settings
        )
        serving = asyncio.create_task(serve(config, parts, stopping, say))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        try:
            return await asyncio.wait_for(talk(self), 60)
        finally:
            stopping.set()
            await serving

    async def deliver(self, *messages: wire.FromDaemon | wire.Batch) -> list[tuple[str, int]]:
        """Say Hello and the messages; return Welcome's marks, then the acks."""
        heard: list[tuple[str, int]] = []

        async def say() -> AsyncIterator[wire.FromDaemon]:
            if not messages or isinstance(messages[0], wire.Batch):
                yield hello()
            for message in messages:
                if isinstance(message, wire.Batch):
                    yield wire.FromDaemon(batch=message)
                else:
                    yield message

        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = cast("ingest_pb2_grpc.IngestAsyncStub", ingest_pb2_grpc.IngestStub(channel))
            async for reply in stub.Deliver(say()):
                if reply.WhichOneof("message") == "welcome":
                    heard.extend((mark.epoch, mark.number) for mark in reply.welcome.committed)
                else:
                    heard.append((reply.ack.epoch, reply.ack.number))
        return heard

    async def refused(self, *messages: wire.FromDaemon | wire.Batch) -> tuple[str, str]:
        """Deliver what is refused; return the status and the sentence."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.deliver(*messages)
        return caught.value.code().name, str(caught.value.details())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the database beside the server."""
        assert self.store is not None
        with self.store.cursor() as reader:
            return reader.rows(sql)


def hello(**given: Any) -> wire.FromDaemon:
    """Say Hello as host h1, except for what is given."""
    said: dict[str, Any] = {
        "host": "h1",
        "machine_id": "m1",
        "boot_id": "boot-a",
        "wire_version": 1,
    } | given
    return wire.FromDaemon(hello=wire.Hello(**said))
