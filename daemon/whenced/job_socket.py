"""The datagram socket on which any program of the host speaks of itself.

The kernel tells who sent what (SCM_CREDENTIALS, unix(7)): process, user and group, in the
namespaces of this process. May not know what the words mean; job_words.py does.

Sockets lie in one folder that only root can write, one for each daemon of the host, named by its
process id: a program sends to all of them and need not know which instance watches it.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from whenced.job_words import LINE_BYTES

log: Final = logging.getLogger(__name__)

FOLDER: Final = Path("/run/whence-jobs")
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_BUFFER_BYTES: Final = 4 << 20


class Heard(NamedTuple):
    """One datagram; pid is 0 for a sender outside of our pid namespace."""

    pid: int
    uid: int
    text: bytes
    address: bytes | str | None


class JobSocket:
    """Bound while it lives; receive() never waits. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path = FOLDER) -> None:
        folder.mkdir(exist_ok=True, mode=0o755)
        _remove_dead(folder)
        self._path = folder / f"{os.getpid()}.sock"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.setblocking(False)
            self._socket.bind(str(self._path))
            # Everybody may speak of their own processes.
            self._path.chmod(0o666)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Descriptor that is readable when somebody spoke."""
        return self._socket.fileno()

    def receive(self, most: int) -> Iterator[Heard]:
        """Give at most that many datagrams that have come."""
        for _ in range(most):
            try:
                text, ancillary, flags, address = self._socket.recvmsg(
                    LINE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("words of jobs cannot be received: %s", error)
                return
            sender = _sender(ancillary)
            if sender is not None and not flags & socket.MSG_TRUNC:
                yield Heard(*sender, text, address or None)

    def answer(self, address: bytes | str, text: str) -> None:
        """Tell a sender; one that is gone or does not listen is left."""
        with suppress(OSError):
            self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, address)

    def close(self) -> None:
        """Remove the socket."""
        self._path.unlink(missing_ok=True)
        self._socket.close()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int] | None:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, uid, _ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
            return pid, uid
    return None


def _remove_dead(folder: Path) -> None:
    """Remove what daemons left that were killed: each would cost every sender a refusal."""
    for path in folder.glob("*.sock"):
        if not Path("/proc", path.stem).exists():
            path.unlink(missing_ok=True)
