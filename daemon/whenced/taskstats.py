"""What the kernel accounts for each task at its end: the oracle that owes nothing to our hooks.

A thread of its own reads; messages are decoded where they lie. See include/uapi/linux/taskstats.h.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

_OPEN_S: Final = 20.0
# 10,000 processes that end at once are 13 MB of messages.
_RECEIVE_BYTES: Final = 32 << 20
_MESSAGE_BYTES: Final = 8192
# nlmsghdr, genlmsghdr, AGGR_PID, PID, STATS: then struct taskstats begins.
_STATS_AT: Final = 36
_AGGR_PID: Final = 4
_AGGR_TYPE: Final = struct.Struct("<H")  # at 22
_VERSION: Final = struct.Struct("<H")
# ac_pid, read_char, write_char, read_syscalls, write_syscalls, ac_tgid
_FIELDS: Final = struct.Struct("<I84x4Q120xI")
_FIELDS_AT: Final = _STATS_AT + 128
_LEAST_VERSION: Final = 12  # has ac_tgid
_SHIFTED_VERSION: Final = 15  # fields in between; 16 put them at the end again


class Account(NamedTuple):
    """One task's own reads and writes: calls, and bytes of those that moved any."""

    tgid: int
    pid: int
    read_bytes: int
    written_bytes: int
    read_calls: int
    written_calls: int


def account_in(message: bytes) -> Account | None:
    """Read one message of an exit; None for any other, and for a layout that is not known."""
    if len(message) < _FIELDS_AT + _FIELDS.size:
        return None
    if _AGGR_TYPE.unpack_from(message, 22)[0] != _AGGR_PID:
        return None
    (version,) = _VERSION.unpack_from(message, _STATS_AT)
    if version < _LEAST_VERSION or version == _SHIFTED_VERSION:
        return None
    pid, read, written, reads, writes, tgid = _FIELDS.unpack_from(message, _FIELDS_AT)
    return Account(tgid, pid, read, written, reads, writes)


class Accounts:
    """Reads accounts from a socket into memory until closed."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._found: deque[Account] = deque()
        self.overflows = 0  # the kernel had no room for an account: some are missing
        self.unavailable: str | None = None
        self._thread = threading.Thread(target=self._run, name="taskstats", daemon=True)
        self._thread.start()

    def take(self) -> list[Account]:
        """Return what came since the last call."""
        found = []
        while self._found:
            found.append(self._found.popleft())
        return found

    def close(self) -> None:
        """Stop reading."""
        self._link.close()

    def _run(self) -> None:
        while True:
            try:
                message = self._link.recv(_MESSAGE_BYTES)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self.overflows += 1
                    continue
                self.unavailable = error.strerror or "closed"
                return
            account = account_in(message)
            if account is not None:
                self._found.append(account)


def open_accounts() -> Accounts | str:
    """Begin to read accounts, or say in one sentence why there are none."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    command = [sys.executable, "-m", "whenced.taskstats_open", str(theirs.fileno())]
    with ours, theirs:
        ours.settimeout(_OPEN_S)
        try:
            done = subprocess.run(
                command,
                pass_fds=[theirs.fileno()],
                capture_output=True,
                text=True,
                timeout=_OPEN_S,
                check=False,
            )
            if done.returncode:
                words = done.stderr.strip().splitlines() or ["it ended without a word"]
                return f"the kernel's accounts cannot be read: {words[-1]}"
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"the kernel's accounts cannot be read: {error}"
    link = socket.socket(fileno=fds[0])
    link.setblocking(True)
    # SO_RCVBUFFORCE (asm-generic/socket.h): above the limit for everybody, with CAP_NET_ADMIN.
    for option in (33, socket.SO_RCVBUF):
        try:
            link.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BYTES)
        except OSError as error:
            log.debug("receive buffer: %s", error)
        else:
            break
    return Accounts(link)
