"""Questions about GPU time and money, as typed methods on the client's channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from whence.client import TIMEOUT_S, translate
from whence_proto.v1 import spend_pb2 as wire
from whence_proto.v1.spend_pb2_grpc import SpendStub

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from whence.client import Client

Answer = TypeVar("Answer")


class SpendClient:
    """Asks the collector of a Client; raises what its methods raise."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stub = SpendStub(client.channel)

    def report(self, scope: wire.SpendScope, by: str, limit: int = 0) -> wire.ReportSpendResponse:
        """Time and money by one dimension."""
        asked = wire.ReportSpendRequest(scope=scope, by=by, limit=limit)
        return self._ask(lambda: self._stub.ReportSpend(asked, timeout=TIMEOUT_S))

    def waste(self, scope: wire.SpendScope) -> wire.ReportWasteResponse:
        """Held time by what became of it."""
        asked = wire.ReportWasteRequest(scope=scope)
        return self._ask(lambda: self._stub.ReportWaste(asked, timeout=TIMEOUT_S))

    def commitments(self, scope: wire.SpendScope) -> wire.ReportCommitmentsResponse:
        """What commitments paid for."""
        asked = wire.ReportCommitmentsRequest(scope=scope)
        return self._ask(lambda: self._stub.ReportCommitments(asked, timeout=TIMEOUT_S))

    def cost(self, run_ids: Sequence[str]) -> wire.CostRunsResponse:
        """What runs cost together, each once."""
        asked = wire.CostRunsRequest(run_ids=run_ids)
        return self._ask(lambda: self._stub.CostRuns(asked, timeout=TIMEOUT_S))

    def charges(self, scope: wire.SpendScope) -> Iterator[wire.ChargeRow]:
        """Charges by day, GPU, run and price."""
        asked = wire.ExportChargesRequest(scope=scope)
        pieces = self._ask(lambda: list(self._stub.ExportCharges(asked, timeout=TIMEOUT_S)))
        for piece in pieces:
            yield from piece.rows

    def now(self, host: str = "") -> wire.ShowNowResponse:
        """GPUs, holders and runs at this moment."""
        asked = wire.ShowNowRequest(host=host)
        return self._ask(lambda: self._stub.ShowNow(asked, timeout=TIMEOUT_S))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except grpc.RpcError as error:
            raise translate(error, self._client.address) from None


def message_document(message: Message) -> dict[str, Any]:
    """Return a message as JSON can hold it; numbers of -1 (not known) become null."""
    return {field.name: _value(field, message) for field in message.DESCRIPTOR.fields}


def _value(field: Any, message: Message) -> Any:
    value = getattr(message, field.name)
    if hasattr(value, "append"):  # repeated
        return [message_document(each) if field.message_type else each for each in value]
    if field.message_type:
        return message_document(value)
    return None if not isinstance(value, str) and value == -1 else value
