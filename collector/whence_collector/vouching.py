"""Tickets: what a daemon says of a caller on its host, checked; and which peers are observed hosts.

The daemon's key comes with its Hello and lives in memory only. A ticket is good for one call.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from google.protobuf.message import DecodeError

from whence_collector.errors import RefusedAct
from whence_collector.person_rules import Seen
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from whence_proto.v1.ingest_pb2 import Hello

KEY_BYTES = 32
CLOCKS_APART_NS = 60_000_000_000
LONGEST_NS = 120_000_000_000  # a ticket that claims to live longer is not one of ours


class Vouching:
    """Keys of daemons by host, spent tickets, addresses of nodes."""

    def __init__(self, clock: Callable[[], int], is_node_token: Callable[[str], bool]) -> None:
        self._clock, self._is_node_token = clock, is_node_token
        self._lock = threading.Lock()
        self._keys: dict[str, bytes] = {}
        self._spent: dict[bytes, int] = {}
        self._node_addresses: dict[str, str] = {}  # address -> host

    def greeted(self, hello: Hello, peer: str, proven: bool) -> None:
        """Take a daemon's key, where a certificate, socket or token shows that it is a node's."""
        key = hello.vouch_key
        if len(key) != KEY_BYTES or not (proven or self._is_node_token(hello.node_token)):
            return
        with self._lock:
            self._keys[hello.host] = key
            self._node_addresses[address_of(peer)] = hello.host

    @property
    def node_addresses(self) -> frozenset[str]:
        """Addresses from which daemons deliver."""
        with self._lock:
            return frozenset(self._node_addresses)

    def is_observed(self, peer: str) -> bool:
        """Whether a peer is on a host where a daemon can vouch, or could be: then it must."""
        address = address_of(peer)
        return (
            address in ("", "::1")
            or address.startswith(("127.", "::ffff:127."))
            or address in self.node_addresses
        )

    def statement(self, ticket: bytes) -> wire.Statement:
        """Return what a daemon said. Raises RefusedAct for a ticket that is not good, or spent."""
        try:
            shown = wire.Ticket.FromString(ticket)
            statement = wire.Statement.FromString(shown.statement)
        except DecodeError as error:
            raise RefusedAct("ticket", "the ticket is none; ask the daemon again") from error
        with self._lock:
            key = self._keys.get(statement.host)
        if key is None:
            raise RefusedAct(
                "ticket",
                f"the daemon of {statement.host} has not shown that it is a node of this "
                "collector; give it a node token (whence-collector token add)",
            )
        code = hmac.new(key, shown.statement, hashlib.sha256).digest()
        if not hmac.compare_digest(code, shown.code):
            raise RefusedAct("ticket", "the ticket was not made by that host's daemon")
        self._spend(statement)
        return statement

    def _spend(self, statement: wire.Statement) -> None:
        now = self._clock()
        until = statement.until_unix_ns + CLOCKS_APART_NS
        with self._lock:
            self._spent = {nonce: end for nonce, end in self._spent.items() if end > now}
            if not now < until <= now + LONGEST_NS + 2 * CLOCKS_APART_NS:
                raise RefusedAct("ticket", "the ticket is too old; try again")
            if statement.nonce in self._spent:
                raise RefusedAct("ticket", "the ticket was used before; ask the daemon again")
            self._spent[statement.nonce] = until


def seen_of(process: wire.SeenProcess) -> Seen:
    """Return a process of a statement."""
    return Seen(
        pid=process.pid,
        exe=process.exe,
        argv=tuple(process.argv),
        command_name=process.command_name,
        uid=process.uid,
        user=process.user,
        terminal=process.terminal,
        exe_is_systems=process.exe_is_systems,
        marks=tuple(process.marks),
        peer_address=process.peer_address,
        source=process.source,
    )


def address_of(peer: str) -> str:
    """Return the address of a gRPC peer ("ipv4:1.2.3.4:5", "ipv6:%5B::1%5D:5"), "" for a socket."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]")


def local_token(folder: Path) -> str:
    """Make this start's token for the daemon of this very host: only root reads it.

    Raises OSError where the folder cannot be written.
    """
    token = f"whn_{secrets.token_hex(32)}"
    path = folder / "node.token"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"{token}\n", encoding="ascii")
    return token
