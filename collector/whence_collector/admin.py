"""The administrator's socket: chores of the running collector, for its own user and root alone.

A server of its own, because gRPC serves every service on every port of a server.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from whence_collector import backup
from whence_collector.errors import AddressUnusable, BackupUnusable
from whence_collector.status import ErrorInterceptor
from whence_proto.v1 import admin_pb2, admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whence_collector.store import Store

MODE = 0o600
BACKUP_TIMEOUT_S = 3600.0


class AdminService(admin_pb2_grpc.AdminServicer):
    """Does what only the process that has the database open can do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def Backup(self, request: admin_pb2.BackupRequest, context: Any) -> admin_pb2.BackupReply:  # noqa: N802 -- gRPC names it and gives it
        """Copy the database beside itself."""
        copied = await asyncio.wrap_future(backup.start(self._store))
        return admin_pb2.BackupReply(
            path=str(copied.path),
            size_bytes=copied.size_bytes,
            blake3=copied.digest,
            paused_ns=copied.paused_ns,
        )


def socket_of(data_dir: Path) -> Path:
    """Return where the socket of a collector is."""
    return data_dir / "run" / "admin.sock"


async def serve(
    store: Store, path: Path, chores: Sequence[Callable[[grpc.aio.Server], None]] = ()
) -> grpc.aio.Server:
    """Start the server; the caller stops it. Raises AddressUnusable."""
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    admin_pb2_grpc.add_AdminServicer_to_server(AdminService(store), server)
    for add_chores in chores:
        add_chores(server)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{path}")
        path.chmod(MODE)
    except (OSError, RuntimeError) as error:
        raise AddressUnusable(
            f"cannot listen at {path} ({error}); choose another --data-dir"
        ) from error
    await server.start()
    return server


def ask_backup(path: Path) -> admin_pb2.BackupReply | None:
    """Ask the collector behind a socket for a copy; None when nobody is behind it.

    Raises BackupUnusable with what the collector said, or why it cannot be asked.
    """
    if not _is_served(path):
        return None
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        try:
            return stub.Backup(admin_pb2.BackupRequest(), timeout=BACKUP_TIMEOUT_S)
        except grpc.RpcError as refusal:
            said = refusal.details() or refusal.code().name
            raise BackupUnusable(f"the collector made no copy: {said}") from refusal


def _is_served(path: Path) -> bool:
    """Whether a collector is there: that it refuses is not the same as nobody."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise BackupUnusable(
                f"{path} cannot be asked ({error.strerror}): run this as root or as the "
                "collector's user"
            ) from error
    return True
