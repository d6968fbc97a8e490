"""One table: which error becomes which gRPC status and which exit code.

The interceptor below is the only place where errors turn into statuses; handlers just raise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from whence_collector import errors

EXIT_FAULT = 1
EXIT_USAGE = 2

GRPC_CODES: dict[type[errors.CollectorError], grpc.StatusCode] = {
    errors.InvalidBatch: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidStream: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.WireTooNew: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DataDirectoryUnusable: grpc.StatusCode.UNAVAILABLE,
    errors.StorageUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.BatchNotStored: grpc.StatusCode.INTERNAL,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.QueryRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.QueryInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.QueryTooLong: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RefusedAct: grpc.StatusCode.PERMISSION_DENIED,
    errors.CardIncomplete: grpc.StatusCode.INVALID_ARGUMENT,
}

EXIT_CODES: dict[type[errors.CollectorError], int] = {
    errors.InvalidSetting: EXIT_USAGE,
    errors.SchemaTooNew: EXIT_USAGE,
    errors.DataDirectoryUnusable: EXIT_USAGE,
    errors.DataDirectoryInUse: EXIT_USAGE,
    errors.AddressUnusable: EXIT_USAGE,
    errors.BackupUnusable: EXIT_USAGE,
}

Behavior = Callable[..., Any]
# By whether requests and replies are streams.
_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def grpc_code(error: errors.CollectorError) -> grpc.StatusCode:
    """Return the status of an error; INTERNAL for one that has no row in the table."""
    return GRPC_CODES.get(type(error), grpc.StatusCode.INTERNAL)


def exit_code(error: errors.CollectorError) -> int:
    """Return the exit code of an error that ends the process."""
    return EXIT_CODES.get(type(error), EXIT_FAULT)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns every CollectorError that a handler raises into its status."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler that the continuation finds; None stays None (unknown method)."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        kinds = handler.request_streaming, handler.response_streaming
        maker = _MAKERS[kinds]
        inner = handler.stream_stream or handler.unary_stream
        if handler.response_streaming:
            wrapped = _streaming(inner, _reading(handler))
        else:
            wrapped = _single(handler.stream_unary or handler.unary_unary, _reading(handler))
        # Bytes come in here: gRPC itself would end a malformed message as a fault of ours, with a
        # trace in the log for whoever sends one.
        return maker(wrapped, None, handler.response_serializer)


def _reading(handler: Any) -> Behavior:
    """Return what turns bytes, or a stream of them, into what the handler takes."""
    parse = handler.request_deserializer

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            raise errors.InvalidRequest(f"the message is no {_named(error)}; send one") from None

    async def read_all(stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in stream:
            yield read(data)

    return read_all if handler.request_streaming else read


def _named(error: DecodeError) -> str:
    """Return the message type that protobuf's sentence names."""
    return str(error).partition("type '")[2].partition("'")[0] or "message of this method"


def _single(inner: Behavior, read: Behavior) -> Behavior:
    async def call(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inner(read(request), context)
        except errors.CollectorError as error:
            await context.abort(grpc_code(error), str(error))

    return call


def _streaming(inner: Behavior, read: Behavior) -> Behavior:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            async for reply in inner(read(request), context):
                yield reply
        except errors.CollectorError as error:
            await context.abort(grpc_code(error), str(error))

    return call
