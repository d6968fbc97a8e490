"""Lets the hasher, which may not look into other processes, reach their roots and descriptors.

/proc/PID/root and /proc/PID/fd take CAP_SYS_PTRACE (fs/proc/base.c, proc_fd_access_allowed). The
daemon has it and opens with O_PATH, which reads nothing; the hasher reads and has it not. Both
ends are here: DoorKeeper in the daemon, knock() in the hasher.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from typing import Final

from whenced import openat

# pid, and a descriptor of that process; -1 asks for its root directory.
_ASKED: Final = struct.Struct("=Ii")
_ANSWERED: Final = struct.Struct("=i")  # errno, 0 when a descriptor comes along
ROOT: Final = -1
_PATIENCE_S: Final = 5.0


class DoorKeeper:
    """Answers one hasher until either end is closed, in a thread of its own."""

    def __init__(self) -> None:
        self._link, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(target=self._keep, name="door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE_S)
        self._link.close()

    def _keep(self) -> None:
        while True:
            try:
                asked = self._link.recv(_ASKED.size)
            except OSError:
                return
            if len(asked) != _ASKED.size:
                return  # closed
            self._answer(*_ASKED.unpack(asked))

    def _answer(self, pid: int, fd: int) -> None:
        try:
            opened = _open(pid, fd)
        except OSError as error:
            self._send(error.errno or errno.EIO, [])
            return
        try:
            self._send(0, [opened])
        finally:
            os.close(opened)

    def _send(self, code: int, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._link, [_ANSWERED.pack(code)], descriptors)
        except OSError:
            return  # it is gone; the next recv says so too


class Door:
    """The hasher's end; its threads take turns."""

    def __init__(self, fd: int) -> None:
        self._link = socket.socket(fileno=fd)
        self._link.settimeout(_PATIENCE_S)
        self._turn = threading.Lock()

    def close(self) -> None:
        """Let go of this end."""
        self._link.close()

    def knock(self, pid: int, fd: int = ROOT) -> int:
        """Return an O_PATH descriptor of a process's root, or of its descriptor. Raises OSError."""
        with self._turn:
            self._link.send(_ASKED.pack(pid, fd))
            answer, descriptors, _, _ = socket.recv_fds(self._link, _ANSWERED.size, 1)
        code = _ANSWERED.unpack(answer)[0] if len(answer) == _ANSWERED.size else errno.EPIPE
        if code or not descriptors:
            raise OSError(code or errno.EIO, os.strerror(code or errno.EIO))
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]


_doors: list[Door] = []  # of this process: one, or none where it may look by itself


def go_through(door: Door) -> None:
    """Reach other processes through a door from now on."""
    _doors[:] = [door]


def open_root(pid: int) -> int:
    """Return an O_PATH descriptor of the root of `pid` (0: our own). Raises OSError."""
    return _doors[0].knock(pid) if pid and _doors else openat.open_root(pid)


def open_descriptor(pid: int, fd: int) -> int:
    """Return an O_PATH descriptor of what `fd` of `pid` stands for. Raises OSError."""
    return _doors[0].knock(pid, fd) if _doors else _open(pid, fd)


def _open(pid: int, fd: int) -> int:
    if pid <= 0:
        raise OSError(errno.ESRCH, "no such process")
    if fd == ROOT:
        return openat.open_root(pid)
    return os.open(f"/proc/{pid}/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
