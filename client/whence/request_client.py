"""Requests of the collector as typed calls over one channel. Prints nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from whence.caller_proof import metadata
from whence.client import Client, translate
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1.request_pb2_grpc import RequestsStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

TIMEOUT_S = 60.0

Reply = TypeVar("Reply")


class RequestClient:
    """Training requests of the collector that a Client is connected to.

    Raises as Client does. Each call shows who makes it: see caller_proof.py.
    """

    def __init__(self, client: Client, environment: Mapping[str, str] | None = None) -> None:
        self.address, self._environment = client.address, environment
        self._stub = RequestsStub(client.channel)

    def file(
        self, card: wire.Card, *, draft: bool = False, only_check: bool = False, key: str = ""
    ) -> wire.FileReply:
        """File a card; the reply has the request, or what stands in its way, field by field."""
        return self._ask(
            self._stub.File,
            wire.FileRequest(card=card, draft=draft, only_check=only_check, idempotency_key=key),
        )

    def edit(self, request_id: str, card: wire.Card, from_digest: str = "") -> wire.FileReply:
        """Write a new revision; from_digest is that of the revision that was changed."""
        return self._ask(
            self._stub.Edit,
            wire.EditRequest(request_id=request_id, card=card, from_digest=from_digest),
        )

    def move(self, request_id: str, move: str, reason: str = "") -> wire.RequestDetail:
        """Do "submit", "cancel" or "release"."""
        return self._ask(
            self._stub.Move, wire.MoveRequest(request_id=request_id, move=move, reason=reason)
        )

    def review(
        self, request_id: str, verdict: str, digest: str, reason: str = "", signature: str = ""
    ) -> wire.RequestDetail:
        """Decide on the revision of that digest."""
        return self._ask(
            self._stub.Review,
            wire.ReviewRequest(
                request_id=request_id,
                verdict=verdict,
                digest=digest,
                reason=reason,
                signature=signature,
            ),
        )

    def comment(self, target: str, text: str) -> wire.CommentReply:
        """Say something about a request, run or content."""
        return self._ask(self._stub.Comment, wire.CommentRequest(target=target, text=text))

    def claim(self, request_id: str, host: str) -> wire.ClaimReply:
        """Take an approved request in hand."""
        return self._ask(self._stub.Claim, wire.ClaimRequest(request_id=request_id, host=host))

    def link_run(self, request_id: str, run_id: str, reason: str) -> wire.RequestDetail:
        """Say that a run answers a request."""
        return self._ask(
            self._stub.LinkRun,
            wire.LinkRunRequest(request_id=request_id, run_id=run_id, reason=reason),
        )

    def get(self, request_id: str) -> wire.RequestDetail:
        """Return one request in full."""
        return self._ask(self._stub.Get, wire.GetRequest(request_id=request_id))

    def list(
        self,
        *,
        mine: bool = False,
        to_review: bool = False,
        queued: bool = False,
        states: Sequence[str] = (),
        project: str = "",
        limit: int = 0,
    ) -> wire.ListReply:
        """Return requests, newest first."""
        return self._ask(
            self._stub.List,
            wire.ListRequest(
                mine=mine,
                to_review=to_review,
                queued=queued,
                states=states,
                project=project,
                limit=limit,
            ),
        )

    def watch(
        self, request_id: str = "", *, after: int = 0, history: bool = False
    ) -> Iterator[wire.TimelineEntry]:
        """Yield what happens, until the caller stops."""
        request = wire.WatchRequest(request_id=request_id, after_number=after, history=history)
        yield from self._stream(self._stub.Watch, request)

    def why(self, target: str) -> wire.WhyReply:
        """Return requests and decisions along the lineage of a run or content."""
        return self._ask(self._stub.Why, wire.WhyRequest(target=target))

    def who_am_i(self) -> wire.WhoAmIReply:
        """Return who the collector takes this process for."""
        return self._ask(self._stub.WhoAmI, wire.WhoAmIRequest())

    def audit(self, after: int = 0, limit: int = 0) -> Iterator[wire.AuditRecord]:
        """Yield the chained records."""
        request = wire.AuditRequest(after_number=after, limit=limit)
        yield from self._stream(self._stub.Audit, request)

    def check_tables(self) -> wire.CheckTablesReply:
        """Return where the collector's tables differ from its records."""
        return self._ask(self._stub.CheckTables, wire.CheckTablesRequest())

    def principals(self) -> wire.ListPrincipalsReply:
        """Return everybody."""
        return self._ask(self._stub.ListPrincipals, wire.ListPrincipalsRequest())

    def policy(self) -> wire.PolicyReply:
        """Return the house rules."""
        return self._ask(self._stub.SetPolicy, wire.PolicyRequest())

    def _ask(self, method: Callable[..., Reply], request: Message) -> Reply:
        try:
            return method(request, timeout=TIMEOUT_S, metadata=metadata(self._environment))
        except grpc.RpcError as error:
            raise translate(error, self.address) from None

    def _stream(self, method: Callable[..., Iterable[Reply]], request: Message) -> Iterator[Reply]:
        try:
            yield from method(request, metadata=metadata(self._environment))
        except grpc.RpcError as error:
            raise translate(error, self.address) from None


def message_document(message: Any) -> dict[str, Any]:
    """Return a message as plain values: every key present, unknown is None."""
    document: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        optional = field.containing_oneof is not None or (
            field.message_type is not None and not _is_many(getattr(message, field.name))
        )
        absent = optional and not message.HasField(field.name)
        document[field.name] = None if absent else _plain(getattr(message, field.name))
    return document


def _is_many(value: Any) -> bool:
    return not hasattr(value, "DESCRIPTOR")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str | int | float):
        return value
    if hasattr(value, "DESCRIPTOR"):
        return message_document(value)
    if hasattr(value, "items"):
        return dict(value)
    return [_plain(each) for each in value]
