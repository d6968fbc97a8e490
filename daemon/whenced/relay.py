"""The one process of a host that talks to the network: the daemon's stream, passed on unread.

The daemon, which may load programs into the kernel, opens no network; this process may do nothing
else and has no privilege. Frames are bytes to it: it parses neither batches nor replies. An ack
therefore still means that the collector has committed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import grpc.aio

from whenced.uplink import CHANNEL_OPTIONS, METHOD

if TYPE_CHECKING:
    from whenced.relay_config import RelaySettings, Tls

log: Final = logging.getLogger("whenced.relay")

Frames: TypeAlias = AsyncIterator[bytes]
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
SERVICE, _, DELIVER = METHOD.strip("/").rpartition("/")
STOP_GRACE_S: Final = 1.0
# How soon new certificates are in use; a look costs three stat(2).
WATCH_S: Final = 5.0
SERVER_OPTIONS: Final = (("grpc.max_receive_message_length", 64 << 20),)
# The daemon is root with the service's group: nobody else may deliver in this host's name.
SOCKET_MODE: Final = 0o660


@dataclass(slots=True)
class Traffic:
    """What passed, for the metrics page."""

    streams: int = 0
    connected: int = 0
    bytes_up: int = 0
    failures: int = 0


def open_channel(settings: RelaySettings) -> grpc.aio.Channel:
    """Connect to the collector; certificates are read now. Raises OSError for a missing file."""
    if settings.tls is None:
        return grpc.aio.insecure_channel(settings.address, options=CHANNEL_OPTIONS)
    identity = credentials(settings.tls)
    options: list[tuple[str, str | int]] = list(CHANNEL_OPTIONS)
    if settings.tls.server_name:
        options.append(("grpc.ssl_target_name_override", settings.tls.server_name))
    return grpc.aio.secure_channel(settings.address, identity, options=options)


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Read the three files of mutual TLS. Raises OSError."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca.read_bytes(),
        private_key=tls.key.read_bytes(),
        certificate_chain=tls.certificate.read_bytes(),
    )


class Relay:
    """Serves the daemon on a Unix socket; each stream gets a connection of its own upwards."""

    def __init__(
        self,
        settings: RelaySettings,
        connect: Callable[[RelaySettings], grpc.aio.Channel] = open_channel,
    ) -> None:
        self.traffic = Traffic()
        self._settings, self._connect = settings, connect
        self._calls: set[grpc.aio.StreamStreamCall[bytes, bytes]] = set()
        self._identity = self._stamps()

    async def serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until stopping is set. Raises RuntimeError when the socket cannot be made."""
        server = grpc.aio.server(options=SERVER_OPTIONS)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._deliver
        )  # bytes in, bytes out
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {DELIVER: handler}),)
        )
        path = self._settings.listen
        path.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{path}")
        path.chmod(SOCKET_MODE)
        async with AsyncExitStack() as stack:
            await server.start()
            stack.push_async_callback(server.stop, STOP_GRACE_S)
            ready()
            while not stopping.is_set():
                await _until(stopping, WATCH_S)
                self._renew()

    async def _deliver(
        self, frames: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Pass one stream on, in both directions, and its end with the collector's own words."""
        try:
            channel = self._connect(self._settings)
        except OSError as error:
            self.traffic.failures += 1
            sentence = f"{error.filename}: {error.strerror}: enrol this host again"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, sentence)
        deliver: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
        call = deliver(self._counted(frames))
        self._calls.add(call)
        self.traffic.streams += 1
        self.traffic.connected += 1
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as error:
            self.traffic.failures += 1
            await context.abort(error.code(), error.details() or "")
        except asyncio.CancelledError:
            if call in self._calls:
                raise  # by the daemon, or at the end
            await context.abort(grpc.StatusCode.UNAVAILABLE, "new certificates")
        finally:
            self.traffic.connected -= 1
            self._calls.discard(call)
            await channel.close()

    async def _counted(self, frames: Frames) -> Frames:
        async for frame in frames:
            self.traffic.bytes_up += len(frame)
            yield frame

    def _stamps(self) -> tuple[int, ...]:
        """Which certificates stand on disk; -1 for one that is missing."""
        if self._settings.tls is None:
            return ()
        return tuple(_modified_ns(path) for path in self._settings.tls.files())

    def _renew(self) -> None:
        """End the streams that use old certificates: the daemon opens new ones at once."""
        found = self._stamps()
        if found == self._identity:
            return
        self._identity = found
        log.info("new certificates: streams are opened again")
        for call in list(self._calls):
            self._calls.discard(call)
            call.cancel()


def _modified_ns(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 -- follows links, as the reading does
    except OSError:
        return -1


async def _until(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting], timeout=seconds)
    waiting.cancel()
