"""An in-process collector over real gRPC with canned answers, for tests of the client and of users.

It remembers what it was asked and derives nothing: an answer is there or it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import grpc

from whence_proto.v1 import query_pb2
from whence_proto.v1.query_pb2_grpc import QueryServicer, add_QueryServicer_to_server

if TYPE_CHECKING:
    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Table:
    """The result of a statement."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What the collector says.

    found: by digest, or else by path. lineages: by start. tables: by a part of the statement.
    failures: by method name, the status and text that it fails with instead.
    """

    found: Mapping[str, query_pb2.FindReply] = field(default_factory=dict)
    runs: Sequence[query_pb2.RunDetail] = ()
    lineages: Mapping[str, query_pb2.LineageReply] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    status: query_pb2.StatusReply = field(default_factory=query_pb2.StatusReply)
    failures: Mapping[str, tuple[grpc.StatusCode, str]] = field(default_factory=dict)


class CannedCollector(QueryServicer):
    """The servicer behind `serve`; `asked` holds the requests in their order."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.asked: list[Message] = []
        self.address = ""

    def _note(self, request: Message, context: grpc.ServicerContext) -> None:
        self.asked.append(request)
        method = type(request).__name__.removesuffix("Request")
        if method in self._answers.failures:
            context.abort(*self._answers.failures[method])

    def Find(  # noqa: N802  gRPC names the method
        self, request: query_pb2.FindRequest, context: grpc.ServicerContext
    ) -> query_pb2.FindReply:
        """Answer by digest, else by path, else with nothing."""
        self._note(request, context)
        found = self._answers.found
        nothing = query_pb2.FindReply()
        return found.get(request.digest) or found.get(request.path) or nothing

    def ListRuns(  # noqa: N802  gRPC names the method
        self, request: query_pb2.ListRunsRequest, context: grpc.ServicerContext
    ) -> query_pb2.ListRunsReply:
        """List all runs up to the limit, in the order given."""
        self._note(request, context)
        runs = [detail.run for detail in self._answers.runs]
        limit = request.limit or 50
        return query_pb2.ListRunsReply(runs=runs[:limit], truncated=len(runs) > limit)

    def GetRun(  # noqa: N802  gRPC names the method
        self, request: query_pb2.GetRunRequest, context: grpc.ServicerContext
    ) -> query_pb2.RunDetail:
        """Return the run whose id begins so."""
        self._note(request, context)
        wanted = request.run_id
        detail = next((d for d in self._answers.runs if d.run.run_id.startswith(wanted)), None)
        if detail is None:
            _not_found(context, f"no run {wanted} is known: `whence log` lists the runs")
        return detail

    def Lineage(  # noqa: N802  gRPC names the method
        self, request: query_pb2.LineageRequest, context: grpc.ServicerContext
    ) -> query_pb2.LineageReply:
        """Return the graph of that start."""
        self._note(request, context)
        if request.start not in self._answers.lineages:
            _not_found(context, f"nothing is known of {request.start}")
        return self._answers.lineages[request.start]

    def Sql(  # noqa: N802  gRPC names the method
        self, request: query_pb2.SqlRequest, context: grpc.ServicerContext
    ) -> Iterator[query_pb2.SqlChunk]:
        """Stream the first table whose key the statement holds: names, then a row a chunk."""
        self._note(request, context)
        table = next((t for key, t in self._answers.tables.items() if key in request.query), None)
        if table is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the statement is not understood")
            return
        yield query_pb2.SqlChunk(columns=table.columns)
        for row in table.rows:
            yield query_pb2.SqlChunk(rows_json=[json.dumps(list(row))])
        yield query_pb2.SqlChunk(truncated=table.truncated)

    def Status(  # noqa: N802  gRPC names the method
        self, request: query_pb2.StatusRequest, context: grpc.ServicerContext
    ) -> query_pb2.StatusReply:
        """Return the status."""
        self._note(request, context)
        return self._answers.status


def _not_found(context: grpc.ServicerContext, text: str) -> NoReturn:
    context.abort(grpc.StatusCode.NOT_FOUND, text)
    raise AssertionError("abort raises")


@contextmanager
def serve(answers: Answers, address: str = "127.0.0.1:0") -> Iterator[CannedCollector]:
    """Serve the answers until the block ends, on a free loopback port; see `.address`."""
    collector = CannedCollector(answers)
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    add_QueryServicer_to_server(collector, server)
    port = server.add_insecure_port(address)
    collector.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(grace=None).wait()
