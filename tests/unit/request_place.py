"""A store with its requests, driven as calls are, for tests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whence_collector.person_rules import Seen
from whence_collector.request_family import RequestFamily
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2
from whence_proto.v1 import request_pb2 as wire

SECOND_NS = 1_000_000_000
NOW = 1_790_000_000 * SECOND_NS
KEY = b"k" * 32
HOST = "gpu-07"


class Server:
    """Takes the place of a gRPC server: keeps the servicers."""

    def __init__(self) -> None:
        self.servicer: Any = None

    def add_registered_method_handlers(self, _name: str, _handlers: Any) -> None:
        """Take what newer generated code gives."""

    def add_generic_rpc_handlers(self, _handlers: Any) -> None:
        """Take what generated code gives."""


class Context:
    """What a servicer asks of a call."""

    def __init__(self, metadata: tuple[tuple[str, Any], ...], peer: str) -> None:
        self._metadata, self._peer = metadata, peer

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        """What the caller shows."""
        return self._metadata

    def peer(self) -> str:
        """Where it comes from."""
        return self._peer


class Place:
    """One collector's requests; `now` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOW
        self.store = Store(folder / "whence.duckdb", clock=lambda: self.now)
        self._begin()
        self._tickets = 0

    def _begin(self) -> None:
        self.family = RequestFamily(self.folder, lambda: self.now)
        server: Any = Server()
        self.family.add(server, self.store)
        assert self.family.ledger is not None
        self.ledger = self.family.ledger
        token = (self.folder / "node.token").read_text().strip()
        hello = ingest_pb2.Hello(host=HOST, vouch_key=KEY, node_token=token)
        self.family.vouching.greeted(hello, "ipv4:10.0.0.7:1", False)

    def again(self) -> None:
        """Read everything afresh, as a collector that starts again does."""
        self._begin()

    def ticket(self, *ancestry: Seen) -> bytes:
        """Return what the daemon of HOST says of a process."""
        self._tickets += 1
        nonce, until = self._tickets.to_bytes(16), self.now + 30 * SECOND_NS
        statement = statement_of(ancestry, nonce, until).SerializeToString()
        code = hmac.new(KEY, statement, hashlib.sha256).digest()
        return wire.Ticket(statement=statement, code=code).SerializeToString()

    def ask(
        self,
        method: str,
        request: Any,
        *ancestry: Seen,
        token: str = "",
        peer: str = "ipv4:9.9.9.9:1",
    ) -> Any:
        """Call as a process of HOST with an ancestry, or from afar with a token."""
        shown: list[tuple[str, Any]] = []
        if ancestry:
            shown.append(("whence-ticket-bin", self.ticket(*ancestry)))
        if token:
            shown.append(("authorization", f"Bearer {token}"))
        call = getattr(self.family.service, method)
        return asyncio.run(call(request, Context(tuple(shown), peer)))

    def administer(self, method: str, request: Any) -> Any:
        """Call on the administrator's socket."""
        call = getattr(self.family.for_administrators, method)
        return asyncio.run(call(request, Context((), "unix:")))

    def close(self) -> None:
        """Close the file."""
        self.store.close()


def statement_of(ancestry: Sequence[Seen], nonce: bytes, until_unix_ns: int) -> wire.Statement:
    """Return what the daemon of HOST states of a process."""
    seen = [_message(each) for each in ancestry]
    return wire.Statement(host=HOST, ancestry=seen, nonce=nonce, until_unix_ns=until_unix_ns)


def _message(seen: Seen) -> wire.SeenProcess:
    return wire.SeenProcess(
        pid=seen.pid,
        exe=seen.exe,
        argv=seen.argv,
        command_name=seen.command_name,
        uid=seen.uid,
        user=seen.user,
        terminal=seen.terminal,
        exe_is_systems=seen.exe_is_systems,
        marks=seen.marks,
        peer_address=seen.peer_address,
    )


def person(user: str) -> tuple[Seen, ...]:
    """Return the ancestry of a command that a person typed after a log-in from afar."""
    uid = 1000 + sum(user.encode())
    return (
        Seen(
            30, "/usr/bin/python3.11", ("python", "/opt/bin/whence"), "whence", uid, user, 5, True
        ),
        Seen(20, "/usr/bin/bash", ("-bash",), "bash", uid, user, 5, True),
        Seen(11, "/usr/sbin/sshd", ("sshd",), "sshd", uid, user, 0, True, (), "192.0.2.7"),
        Seen(10, "/usr/sbin/sshd", ("sshd",), "sshd", 0, "root", 0, True),
    )


def agent(user: str, name: str = "claude") -> tuple[Seen, ...]:
    """Return the ancestry of a command that a person's coding agent ran."""
    asks, *above = person(user)
    tool = Seen(26, "/usr/bin/bash", ("bash", "-c", "x"), "bash", asks.uid, user, 0, True)
    bot = Seen(25, f"/home/{user}/bin/{name}", (name,), name, asks.uid, user, 5, False)
    return (asks, tool, bot, *above)


SEED = wire.Card(
    title="Tune base_v4 on the support tickets of Q2",
    rationale="Agents answer a third of the tickets wrong; this decides whether we tune or buy.",
    project="support",
    datasets=[wire.DataRef(uri="s3://corp/support-tickets-2026q2", digest="ad9c125")],
    base_model=wire.DataRef(name="base_v4", digest="7c3a8de"),
    compute=wire.Compute(count=8, gpu_model="H100", duration_s=11_520),
    budget_micro_usd=984_000_000,
    reviewers=["maria"],
    expected_outcome="Ten points more on the June set",
)
