"""Questions to the collector as typed methods. Prints nothing and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from whence.channel import open_channel, resolve_address
from whence.errors import (
    MisuseError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    WhenceError,
)
from whence.model import Found, Lineage, RunDetail, RunList, Status, from_wire
from whence_proto.v1 import query_pb2
from whence_proto.v1.query_pb2_grpc import QueryStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

# Answers take milliseconds; a statement of SQL may scan everything.
TIMEOUT_S = 30.0
SQL_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Rows:
    """A piece of a result: column names (first piece only), rows, and whether rows were cut."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool


class Client:
    """A connection to one collector; use it as a context manager or call `close`.

    Every method raises UnreachableError when no collector answers, RefusedError when it declines,
    NotFoundError for an unknown run or content, MisuseError for a malformed question.
    """

    def __init__(
        self,
        address: str | None = None,
        channel: grpc.Channel | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.address = resolve_address(address)
        self._channel = open_channel(self.address) if channel is None else channel
        self._stub = QueryStub(self._channel)
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def channel(self) -> grpc.Channel:
        """The channel, for families of questions that have a stub of their own."""
        return self._channel

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def find(
        self, digest: str | None = None, path: str | None = None, host: str | None = None
    ) -> Found:
        """Return what is known of a content ("blake3:…" or a prefix), and of a path on a host."""
        request = query_pb2.FindRequest(digest=digest, path=path, host=host)
        return from_wire(Found, self._ask(self._stub.Find, request))

    def list_runs(  # noqa: PLR0913  the filters of ListRunsRequest, all optional and by name
        self,
        *,
        user: str | None = None,
        project: str | None = None,
        since_unix_ns: int | None = None,
        status: str | None = None,
        gpu: bool | None = None,
        limit: int = 0,
        steps: bool = False,
        every: bool = False,
    ) -> RunList:
        """Return runs, newest first; `every` includes those that wrote no file."""
        request = query_pb2.ListRunsRequest(
            user=user,
            project=project,
            since_unix_ns=since_unix_ns,
            status=status,
            gpu=gpu,
            limit=limit,
            steps=steps,
            all=every,
        )
        return from_wire(RunList, self._ask(self._stub.ListRuns, request))

    def get_run(self, run_id: str, limit: int = 0, all_classes: bool = False) -> RunDetail:
        """Return one run by its id or a prefix of at least 4 digits."""
        request = query_pb2.GetRunRequest(run_id=run_id, limit=limit, all_classes=all_classes)
        return from_wire(RunDetail, self._ask(self._stub.GetRun, request))

    def lineage(
        self,
        start: str,
        *,
        downstream: bool = False,
        depth: int = 0,
        limit: int = 0,
        all_classes: bool = False,
    ) -> Lineage:
        """Return the graph above (or below) a digest or run; 0 means the collector's limits."""
        request = query_pb2.LineageRequest(
            start=start, downstream=downstream, depth=depth, limit=limit, all_classes=all_classes
        )
        return from_wire(Lineage, self._ask(self._stub.Lineage, request))

    def sql(self, query: str, max_rows: int = 0) -> Iterator[Rows]:
        """Yield the result of one read-only SELECT over the stable views, piece by piece."""
        request = query_pb2.SqlRequest(query=query, max_rows=max_rows)
        try:
            for chunk in self._stub.Sql(request, timeout=SQL_TIMEOUT_S):
                yield _rows(chunk)
        except grpc.RpcError as error:
            raise translate(error, self.address) from None

    def status(self) -> Status:
        """Return how the collector and its daemons are."""
        return from_wire(Status, self._ask(self._stub.Status, query_pb2.StatusRequest()))

    def ask(self, method: Callable[..., Message], request: Message) -> Message:
        """Ask one question of any family; raises as every method here does."""
        return self._ask(method, request)

    def _ask(self, method: Callable[..., Message], request: Message) -> Message:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise translate(error, self.address) from None


def _rows(chunk: query_pb2.SqlChunk) -> Rows:
    # A float that JSON has no word for arrives as a bare NaN or Infinity: keep it as its name.
    rows = tuple(tuple(json.loads(row, parse_constant=str)) for row in chunk.rows_json)
    return Rows(columns=tuple(chunk.columns), rows=rows, truncated=chunk.truncated)


# How gRPC begins to tell of a connection that cannot be made or broke.
_BROKEN = (
    "failed to connect",
    "errors resolving",
    "DNS resolution",
    "Socket closed",
    "Cancelling all calls",
    "recvmsg",
    "Connection reset",
    "Broken pipe",
    "GOAWAY",
    "Endpoint closing",
    "Transport closed",
    "ping timeout",
    "keepalive",
)
_ERRORS: dict[grpc.StatusCode, type[WhenceError]] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: MisuseError,
    grpc.StatusCode.OUT_OF_RANGE: MisuseError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RefusedError,
    grpc.StatusCode.CANCELLED: RefusedError,
    # Not gRPC's words, so the collector's own: it is there, but cannot answer now.
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.ABORTED: RefusedError,
}


def translate(error: grpc.RpcError, address: str) -> WhenceError:
    """Return what a user can act on for a failed call to the collector at `address`."""
    # Every error of a call that was made is a Call too: it carries the status.
    made = isinstance(error, grpc.Call)
    code = error.code() if made else grpc.StatusCode.UNKNOWN
    details = (error.details() or "").strip() if made else str(error)
    if code == grpc.StatusCode.UNAVAILABLE and (not details or details.startswith(_BROKEN)):
        return UnreachableError(
            f"no collector answers at {address}: start it with `make up` or set WHENCE_ADDRESS"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnreachableError(
            f"the collector at {address} did not answer in time: see its log, or ask for less"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return RefusedError(
            f"what answers at {address} does not know this question: a newer collector does, "
            "so start one there, or set WHENCE_ADDRESS"
        )
    if code in _ERRORS and details:
        return _ERRORS[code](details)
    return RefusedError(
        f"the collector at {address} failed with {code.name}"
        f"{': ' + details if details else ''}: its log tells why"
    )
