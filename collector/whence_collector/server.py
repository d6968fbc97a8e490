"""The collector's gRPC server: builds its parts, serves until told to stop, closes in order."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from prometheus_client.registry import Collector as MetricFamilies

from whence_collector import admin
from whence_collector import metrics as metrics_page
from whence_collector.accounting import Accounting
from whence_collector.canaries import CanaryWatch
from whence_collector.config import Config
from whence_collector.errors import AddressUnusable, StorageUnavailable
from whence_collector.ingest import Committer, Greeted, Identity, IngestService, ignore
from whence_collector.metrics import Metrics
from whence_collector.order_desk import OrderDesk
from whence_collector.presence import Presence
from whence_collector.price_book import PriceBookFile
from whence_collector.query import QueryService
from whence_collector.recorder import Deriving, Recorder
from whence_collector.retention import Retention
from whence_collector.settle import Settler
from whence_collector.status import ErrorInterceptor
from whence_collector.store import Store, Writer
from whence_proto.v1 import ingest_pb2_grpc, query_pb2_grpc

LOG = logging.getLogger("whence.server")

STOP_GRACE_S = 2.0
SOCKET_MODE = 0o660
GARBAGE_THRESHOLDS = (50_000, 20, 100)  # objects, young and middle collections until the next
OPTIONS = (
    ("grpc.so_reuseport", 0),  # two collectors on one port must be an error
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the server is given: rules for deriving and answering."""

    make_deriver: Callable[[Writer], Deriving]
    make_queries: Callable[[Store, Presence, str], QueryService]
    # Each adds one more servicer: a family of questions with a .proto of its own.
    services: tuple[Callable[[grpc.aio.Server, Store], None], ...] = ()
    # The same, on the administrator's socket.
    chores: tuple[Callable[[grpc.aio.Server], None], ...] = ()
    greeted: Greeted = ignore
    # Sends orders down the streams of daemons.
    orders: OrderDesk | None = None
    # Families of metrics beside the collector's own.
    metrics: tuple[MetricFamilies, ...] = ()
    # Each runs beside the server until it stops.
    tasks: tuple[Callable[[], Awaitable[None]], ...] = ()


def own_version() -> str:
    """Return the version of the installed package, "0" in a tree that is not installed."""
    try:
        return importlib.metadata.version("whence")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def own_identity(proc: Path = Path("/proc")) -> Identity:
    """Return what Welcome says of this process."""
    boot_id = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    namespace = (proc / "self/ns/pid").stat().st_ino
    return Identity(own_version(), boot_id, os.getpid(), namespace)


async def serve(
    config: Config, parts: Parts, stopping: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """Serve until stopping is set; call ready with the address once requests are answered.

    Raises what the parts raise at start: see EXIT_CODES in status.py.
    """
    metrics, presence = Metrics(), Presence()
    metrics.connected_daemons.set_function(presence.connected)
    for families in parts.metrics:
        metrics.registry.register(families)
    store = await asyncio.to_thread(Store, config.database)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, store.close)
        recorder = await _recorder(store, parts)
        stack.push_async_callback(_close_recorder, store, recorder)
        # Rows make no cycles, and looking for them was a twentieth of ingest.
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        committer = Committer(store, recorder, metrics, config.host_rows_per_second)
        committing = asyncio.create_task(committer.run())
        stack.push_async_callback(_end, committing)
        settler = Settler(PriceBookFile(config.prices))
        accounting = Accounting(store, recorder, settler, metrics)
        for work in (accounting.run(), CanaryWatch(store, presence, metrics).run()):
            stack.push_async_callback(_end, asyncio.create_task(work))
        server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=OPTIONS)
        service = _ingest(committer, presence, metrics, config, parts)
        ingest_pb2_grpc.add_IngestServicer_to_server(service, server)
        queries = parts.make_queries(store, presence, own_version())
        query_pb2_grpc.add_QueryServicer_to_server(queries, server)
        stack.push_async_callback(asyncio.to_thread, queries.close)
        for add_service in parts.services:
            add_service(server, store)
        port = _listen(server, config)
        _listen_locally(server, config)
        await asyncio.to_thread(_listen_securely, server, config)
        page = metrics_page.serve(metrics, config.host, config.metrics_port)
        stack.push_async_callback(asyncio.to_thread, page.stop)
        if config.keep_raw_days:
            retention = Retention(store, config.keep_raw_days, time.time_ns)
            folding = asyncio.create_task(retention.run())
            stack.push_async_callback(_end, folding)
        chores = await admin.serve(store, admin.socket_of(config.data_dir), parts.chores)
        stack.push_async_callback(chores.stop, STOP_GRACE_S)
        await server.start()
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        for task in parts.tasks:
            stack.push_async_callback(_end, asyncio.create_task(_as_coroutine(task)))
        ready(f"{config.host}:{port}")
        await _until(stopping, committing)


def _ingest(
    committer: Committer, presence: Presence, metrics: Metrics, config: Config, parts: Parts
) -> IngestService:
    return IngestService(
        committer,
        presence,
        metrics,
        own_identity(),
        only_enrolled=config.only_enrolled,
        greeted=parts.greeted,
        orders=parts.orders,
    )


async def _until(stopping: asyncio.Event, committing: asyncio.Task[None]) -> None:
    """Wait for the order to stop; a committer that ends before it has met a fault: raise it."""
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([waiting, committing], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if committing.done():
        committing.result()


async def _as_coroutine(task: Callable[[], Awaitable[None]]) -> None:
    await task()


async def _recorder(store: Store, parts: Parts) -> Recorder:
    """Return the writer's memory as the database has it."""
    recorder = Recorder(parts.make_deriver, time.time_ns)
    await asyncio.wrap_future(store.write(recorder.open))
    recorder.committed()
    return recorder


async def _close_recorder(store: Store, recorder: Recorder) -> None:
    """Leave behind what the next start is quicker with; it does without."""
    try:
        await asyncio.wrap_future(store.write(recorder.close))
    except StorageUnavailable as error:
        LOG.warning("the next start reads all accesses: %s", error)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _listen(server: grpc.aio.Server, config: Config) -> int:
    try:
        return int(server.add_insecure_port(config.address))
    except RuntimeError as error:  # what grpc raises where it cannot bind
        raise AddressUnusable(
            f"cannot listen on {config.address}; stop what listens there "
            "or choose another --address"
        ) from error


def _listen_locally(server: grpc.aio.Server, config: Config) -> None:
    """Open the socket of this host's uplink: who may enter its folder may deliver."""
    if config.ingest_socket is None:
        return
    path = config.ingest_socket
    try:
        path.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{path}")
        path.chmod(SOCKET_MODE)
    except (OSError, RuntimeError) as error:
        raise AddressUnusable(
            f"cannot listen at {path} ({error}); choose another ingest_socket, in a folder that "
            "this user can write"
        ) from error


def _listen_securely(server: grpc.aio.Server, config: Config) -> None:
    """Open the ports that have certificates, if any are asked for."""
    wanted = ((config.ingest_address, True), (config.query_address, False))
    if not any(address for address, _ in wanted):
        return
    from whence_collector.authority import Authority  # noqa: PLC0415 -- only where TLS is used
    from whence_collector.tls import Certificates, own_names  # noqa: PLC0415 -- the same

    certificates = Certificates(Authority(config.tls_dir), own_names(config.tls_names))
    for address, mutual in wanted:
        if address is None:
            continue
        try:
            server.add_secure_port(address, certificates.credentials(mutual=mutual))
        except RuntimeError as error:  # what grpc raises where it cannot bind
            raise AddressUnusable(
                f"cannot listen on {address}; stop what listens there or change the setting"
            ) from error
