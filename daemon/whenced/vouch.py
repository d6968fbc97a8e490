"""A process that asks who it is gets a ticket: what the probes saw of it and of all above it.

Decides nothing: the collector judges whether that is a person. The key of the codes lives as long
as this daemon and goes to the collector with each Hello.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whence_proto.v1 import request_pb2
from whenced import process_files
from whenced.control import PEER, Peer, RequestFailed

if TYPE_CHECKING:
    from whenced.processes import Life, Processes

SOCKETS: Final = Path("/run/whence-vouch")
VALID_NS: Final = 30_000_000_000
# A program that was started a moment ago may still lie in the ring.
PATIENCE_S: Final = 1.0
ASK_AGAIN_S: Final = 0.02
TOLD: Final = 24  # processes of a chain; gRPC takes 8 KiB of metadata
WORDS, WORD_LETTERS = 4, 60
LOGINS: Final = frozenset(("sshd", "sshd-session", "sshd-auth"))


def socket_of(data_dir: Path) -> Path:
    """Return where callers ask: the same for daemon and client of one data directory."""
    return SOCKETS / f"{hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]}.sock"


class Voucher:
    """Answers {"do": "vouch"}."""

    def __init__(
        self,
        processes: Processes,
        data_dir: Path,
        user_name: Callable[[int], str | None],
        boot_id: str,
    ) -> None:
        self._processes, self._user_name, self._boot_id = processes, user_name, boot_id
        self._tokens = (data_dir / "daemon" / "node.token", data_dir / "collector" / "node.token")
        self._key = secrets.token_bytes(32)

    def greeting(self) -> tuple[bytes, str]:
        """Return the key, and the token by which a collector knows this node, "" without one."""
        for path in self._tokens:
            try:
                return self._key, path.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                continue
        return self._key, ""

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give a ticket to whoever asks. Raises RequestFailed when it has gone meanwhile."""
        peer: Peer = request[PEER]
        ancestry = self._ancestry(peer.pid)
        if not peer.is_alive() or not ancestry:
            raise RequestFailed("the process that asked has ended")
        statement = request_pb2.Statement(
            host=os.uname().nodename,
            boot_id=self._boot_id,
            ancestry=ancestry[:TOLD],
            own_addresses=process_files.own_addresses(),
            nonce=secrets.token_bytes(16),
            until_unix_ns=time.time_ns() + VALID_NS,
        ).SerializeToString()
        code = hmac.new(self._key, statement, hashlib.sha256).digest()
        ticket = request_pb2.Ticket(statement=statement, code=code).SerializeToString()
        return {"ok": True, "ticket": base64.b64encode(ticket).decode("ascii")}

    def _ancestry(self, pid: int) -> list[request_pb2.SeenProcess]:
        """What capture knows first; above that, what procfs says now."""
        deadline = time.monotonic() + PATIENCE_S
        while not (chain := self._processes.ancestry(pid)) and time.monotonic() < deadline:
            time.sleep(ASK_AGAIN_S)
        seen = [self._captured(life) for life in chain]
        next_pid = process_files.parent_of(chain[-1].row.process.tgid) if chain else pid
        # An end that was captured is an end: its number may be somebody else's by now.
        if chain and chain[-1].ended_ns is not None:
            next_pid = 0
        while next_pid and len(seen) < TOLD:
            found = process_files.read(next_pid)
            if found is None:
                break
            seen.append(self._named(found))
            next_pid = process_files.parent_of(next_pid)
        return seen

    def _captured(self, life: Life) -> request_pb2.SeenProcess:
        row, alive = life.row, life.ended_ns is None
        pid = row.process.tgid
        seen = request_pb2.SeenProcess(
            pid=pid,
            start_ns=row.process.start_ns,
            exe=row.exe or "",
            argv=[word[:WORD_LETTERS] for word in row.arguments[:WORDS]],
            command_name=row.command_name or "",
            uid=row.uid,
            terminal=row.terminal,
            source="probe",
        )
        if alive and (found := process_files.read(pid)) is not None:
            # The program that runs now: its user may have changed since it began.
            seen.uid, seen.terminal = found.uid, found.terminal
            seen.exe = seen.exe or found.exe
            if not seen.argv:
                seen.argv.extend(found.argv)
        return self._named(seen, alive)

    def _named(self, seen: request_pb2.SeenProcess, alive: bool = True) -> request_pb2.SeenProcess:
        seen.user = self._user_name(seen.uid) or str(seen.uid)
        seen.exe_is_systems = process_files.is_systems(seen.pid if alive else 0, seen.exe)
        marks = process_files.marks(seen.pid) if alive else None
        seen.marks.extend(marks or ())
        seen.marks_unknown = marks is None
        if alive and seen.exe.rpartition("/")[2] in LOGINS:
            seen.peer_address = process_files.peer_address(seen.pid)
        return seen
