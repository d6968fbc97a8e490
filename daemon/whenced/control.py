"""A local socket on which root asks the running daemon: one JSON object a line, both ways.

May not know what is asked: handlers are given. Every client is bounded in number, line length
and time, and none can stop the daemon.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
PEER = "peer"  # set in each request; what a client says of it is undone

LINE_BYTES = 64 << 10
# doctor, a person and a watchdog fit; a loop that forgets to close does not harm.
CLIENTS = 8
IDLE_S = 10.0
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_SO_PEERPIDFD = 77  # Linux 6.5
OPEN_IDLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel says. The id may be another's by the time it is used.

    pidfd is -1 where the kernel has none to give; it tells whether that very process still lives.
    """

    pid: int
    uid: int
    pidfd: int = -1

    def is_alive(self) -> bool:
        """Whether the process that connected has not ended; True where the kernel cannot tell."""
        return self.pidfd < 0 or not select.select([self.pidfd], [], [], 0)[0]


class RequestFailed(Exception):  # noqa: N818 - an outcome that a handler reports to its client
    """What a handler raises when it cannot do what was asked; the text goes to the client."""


class ControlSocket:
    """Serves ``handlers`` by name: ``{"do": "status"}`` is answered by ``handlers["status"]``.

    A handler gets the whole request and runs in the client's thread. Its answer is one line; a
    request that cannot be served is answered ``{"ok": false, "error": "…"}``. Raises OSError when
    the socket cannot be made; a socket file that a dead daemon left is replaced (the caller holds
    the lock of the data directory). ``idle_s`` bounds the wait for a whole line.
    ``open_to_all``: any user may connect. Handlers find the Peer in the request.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        idle_s: float = IDLE_S,
        *,
        open_to_all: bool = False,
    ) -> None:
        self._path, self._handlers, self._idle_s = path, dict(handlers), idle_s
        self._open_to_all = open_to_all
        self._places = threading.BoundedSemaphore(CLIENTS)
        self._clients: set[socket.socket] = set()
        self._closing = False
        self._listener = _listen(path, 0o666 if open_to_all else 0o600)
        self._thread = threading.Thread(target=self._accept_loop, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the socket file."""
        self._closing = True
        # Wakes accept(), which close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(1.0)
        self._listener.close()
        for client in list(self._clients):
            _hang_up(client)
        self._path.unlink(missing_ok=True)

    def _accept_loop(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                # Closed, or out of file descriptors: a busy loop would not free any.
                time.sleep(0.0 if self._closing else 0.1)
                continue
            allowed = self._open_to_all or _is_allowed(client)
            if not allowed or not self._places.acquire(blocking=False):
                client.close()
                continue
            self._clients.add(client)
            threading.Thread(
                target=self._serve, args=(client,), name="control-client", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, _peer_of(client) as peer:
                for line in _lines(client, self._idle_s):
                    client.settimeout(self._idle_s)
                    client.sendall(json.dumps(self._answer(line, peer)).encode() + b"\n")
        except OSError as error:
            log.debug("a control client went away: %s", error)
        finally:
            self._clients.discard(client)
            self._places.release()

    def _answer(self, line: bytes, peer: Peer) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error("a request is one JSON object on one line")
        if not isinstance(request, dict):
            return _error("a request is one JSON object on one line")
        handler = self._handlers.get(str(request.get("do")))
        if handler is None:
            return _error(f'"do" must be one of {", ".join(sorted(self._handlers))}')
        request[PEER] = peer
        try:
            return handler(request)
        except RequestFailed as failure:
            return _error(str(failure))


def ask(path: Path, request: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
    """Send one request to a running daemon and give its answer. Raises OSError, ValueError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        with _short(path) as short:
            client.connect(short)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as replies:
            answer: dict[str, Any] = json.loads(replies.readline())
            return answer


def _listen(path: Path, mode: int) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Closed before anybody can connect: the mode of the socket is that of its descriptor.
        os.fchmod(listener.fileno(), mode)
        with _short(path) as short:
            listener.bind(short)
        path.chmod(mode)
        listener.listen(CLIENTS)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name the socket through its folder's descriptor: sun_path holds 107 bytes, data dirs more."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def _peer_of(client: socket.socket) -> Iterator[Peer]:
    peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(peer)
    try:
        pidfd = client.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # an older kernel, or the process has ended already
        yield Peer(pid, uid)
        return
    try:
        yield Peer(pid, uid, pidfd)
    finally:
        os.close(pidfd)


def _is_allowed(client: socket.socket) -> bool:
    peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(peer)
    return uid in (0, os.geteuid())


def _lines(client: socket.socket, idle_s: float) -> Iterator[bytes]:
    """Lines of a client; ends at its end, at a line that is too long, or after ``idle_s``.

    Raises OSError (a timeout is one).
    """
    held = b""
    deadline_s = time.monotonic() + idle_s
    while len(held) <= LINE_BYTES:
        line, newline, rest = held.partition(b"\n")
        if newline:
            yield line
            held, deadline_s = rest, time.monotonic() + idle_s
            continue
        # A whole line by the deadline: one byte now and then does not keep a place.
        client.settimeout(max(0.001, deadline_s - time.monotonic()))
        piece = client.recv(LINE_BYTES)
        if not piece:
            return
        held += piece


def _hang_up(client: socket.socket) -> None:
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("a control client had gone already")


def _error(sentence: str) -> dict[str, Any]:
    return {"ok": False, "error": sentence}
