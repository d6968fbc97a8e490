"""The Query servicer: takes requests off the event loop, answers them, streams SQL.

Knows no SQL of its own; errors are raised and become statuses in status.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from whence_collector.answers_find import find
from whence_collector.answers_lineage import lineage
from whence_collector.answers_runs import get_run, list_runs
from whence_collector.answers_status import status
from whence_collector.caveats import away_hosts, caveats, mark_away
from whence_collector.errors import NotFound
from whence_collector.graph import Graph
from whence_collector.sql_desk import SqlDesk
from whence_proto.v1 import query_pb2 as wire
from whence_proto.v1 import query_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

    from whence_collector.presence import Presence
    from whence_collector.store import Reader, Store

SQL_ROWS_DEFAULT, SQL_ROWS_CAP = 10_000, 1_000_000
SQL_CHUNK_ROWS = 1_000

Reply = TypeVar("Reply")


class QueryService(query_pb2_grpc.QueryServicer):
    """Answers from the store; each request runs on a worker thread."""

    def __init__(self, store: Store, presence: Presence, version: str) -> None:
        self._store = store
        self._presence = presence
        self._version = version
        self._graph = Graph()
        self._sql = SqlDesk(store)

    def close(self) -> None:
        """End what runs ad-hoc SQL."""
        self._sql.close()

    async def Find(self, request: wire.FindRequest, context: Context) -> wire.FindReply:  # noqa: N802 -- gRPC names the method
        """Everything known about one content or path."""
        return await self._answer(lambda reader: self._find(reader, request))

    async def ListRuns(  # noqa: N802 -- gRPC names the method
        self, request: wire.ListRunsRequest, context: Context
    ) -> wire.ListRunsReply:
        """Runs, newest first."""

        def answer(reader: Reader) -> wire.ListRunsReply:
            reply = list_runs(reader, request)
            mark_away(reply.runs, self._away(reader))
            return reply

        return await self._answer(answer)

    async def GetRun(self, request: wire.GetRunRequest, context: Context) -> wire.RunDetail:  # noqa: N802 -- gRPC names the method
        """One run in full."""

        def answer(reader: Reader) -> wire.RunDetail:
            reply = get_run(reader, self._graph, request)
            mark_away([reply.run, *reply.steps], self._away(reader))
            return reply

        return await self._answer(answer)

    async def Lineage(self, request: wire.LineageRequest, context: Context) -> wire.LineageReply:  # noqa: N802 -- gRPC names the method
        """The graph above or below a start."""

        def answer(reader: Reader) -> wire.LineageReply:
            reply = lineage(reader, self._graph, request)
            told = mark_away(reply.runs, self._away(reader))
            reply.complete = reply.complete and not told
            reply.incomplete_reasons.extend(told)
            return reply

        return await self._answer(answer)

    async def Status(self, request: wire.StatusRequest, context: Context) -> wire.StatusReply:  # noqa: N802 -- gRPC names the method
        """How the collector and its daemons are."""
        presence = self._presence
        return await self._answer(
            lambda reader: status(reader, self._store, self._version, presence.is_connected)
        )

    async def Sql(self, request: wire.SqlRequest, context: Context) -> AsyncIterator[wire.SqlChunk]:  # noqa: N802 -- gRPC names the method
        """One read-only SELECT over the stable views, in chunks."""
        limit = min(request.max_rows or SQL_ROWS_DEFAULT, SQL_ROWS_CAP)
        columns, found = await asyncio.to_thread(self._sql.select, request.query, limit + 1)
        chunks = _chunks(columns, found, limit)
        try:
            while chunk := await asyncio.to_thread(next, chunks, None):
                yield chunk
        finally:
            await asyncio.to_thread(_close, found)

    def _find(self, reader: Reader, request: wire.FindRequest) -> wire.FindReply:
        """A "no" tells what could hide a "yes"."""
        connected, host = self._presence.is_connected, request.host or None
        try:
            reply = find(reader, self._graph, request)
        except NotFound as error:
            words = "; ".join([str(error), *caveats(reader, connected, host)])
            raise NotFound(words) from None
        if not reply.productions and not reply.candidates:
            reply.caveats.extend(caveats(reader, connected, host))
        away = self._away(reader)
        for production in reply.productions:
            told = mark_away([production.run, *production.ancestry], away)
            production.complete = production.complete and not told
            production.incomplete_reasons.extend(told)
        return reply

    def _away(self, reader: Reader) -> dict[str, str]:
        return away_hosts(reader, self._presence.is_connected)

    async def _answer(self, work: Callable[[Reader], Reply]) -> Reply:
        def answer() -> Reply:
            with self._store.cursor() as reader:
                self._graph.follow(reader)
                return work(reader)

        return await asyncio.to_thread(answer)


def _chunks(columns: list[str], found: Iterator[str], limit: int) -> Iterator[wire.SqlChunk]:
    """Cut rows into chunks: the first has the columns, the last says whether rows were cut."""
    chunk = wire.SqlChunk(columns=columns)
    for position, row in enumerate(found):
        if position == limit:
            chunk.truncated = True
            break
        if len(chunk.rows_json) == SQL_CHUNK_ROWS:
            yield chunk
            chunk = wire.SqlChunk()
        chunk.rows_json.append(row)
    yield chunk


def _close(found: Iterator[str]) -> None:
    """Give the pooled cursor back; an iterator that ended has done so itself."""
    close = getattr(found, "close", None)
    if close is not None:
        close()
