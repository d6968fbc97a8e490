"""The daemon's side of the hasher: starts it, feeds it, watches it, starts it again.

Never blocks: what the socket does not take waits here; a hung hasher is killed and replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from whenced.door import DoorKeeper
from whenced.hash_messages import (
    CONTROL,
    DONE,
    IDLE,
    MESSAGE_LIMIT_BYTES,
    READER,
    Board,
    CodeReply,
    CodeRequest,
    HashReply,
    HashRequest,
    InspectReply,
    InspectRequest,
    Reply,
    Request,
    new_board_fd,
    packet,
    unpacked,
)
from whenced.hash_queue import NO_FD

#: Without a sign of life for this long a hasher is hung.
HUNG_NS: Final = 10_000_000_000
#: A bulk read at idle disk priority may have to wait for everybody else first.
READ_HUNG_NS: Final = 3 * HUNG_NS
OUTSTANDING_LIMIT: Final = 20_000
STRIKES: Final = 2
_RECEIVE_AT_ONCE: Final = 1024
_RESTART_WAIT_NS: Final = 1_000_000_000
_RESTART_WAIT_LIMIT_NS: Final = 30_000_000_000
_CLOSE_WAIT_S: Final = 2.0
#: Looking after it costs more than hearing that it has nothing to say.
_WATCH_EVERY_NS: Final = 100_000_000
_READ_EVERY_FILE: Final = "dac_read_search"

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HasherOptions:
    """How to start the hasher; the probe descriptors are BPF program and map, or None."""

    cache: Path
    share: float = 0.5
    limit_bytes: int = 0
    probe_fds: tuple[int, int] | None = None
    user: str | None = None  # as whom it runs, with one capability: to read; None: as we do

    def command(self, link_fd: int, board_fd: int, door_fd: int = NO_FD) -> list[str]:
        """Return the argument vector for a hasher on these descriptors."""
        arguments = ["--fd", link_fd, "--board-fd", board_fd, "--cache", self.cache]
        arguments += ["--door-fd", door_fd]
        arguments += ["--share", self.share, "--limit-bytes", self.limit_bytes]
        if self.probe_fds is not None:
            program_fd, map_fd = self.probe_fds
            arguments += ["--probe-fd", program_fd, "--probe-map-fd", map_fd]
        program = [sys.executable, "-P", "-m", "whenced.hasher", *map(str, arguments)]
        return program if self.user is None else [*_confined(self.user), *program]


def _confined(user: str) -> list[str]:
    """Words that start a program as ``user``, able to read every file and nothing else."""
    account = pwd.getpwnam(user)
    only = f"-all,+{_READ_EVERY_FILE}"
    return [
        *("setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid)),
        *("--clear-groups", "--no-new-privs"),
        *("--inh-caps", only, "--ambient-caps", only, "--bounding-set", only, "--"),
    ]


class _Child:
    """One hasher process, its socket and its board."""

    def __init__(self, options: HasherOptions, now_ns: int) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        board_fd = new_board_fd(now_ns)
        self.door = DoorKeeper()
        door_fd = self.door.theirs.fileno()
        try:
            self.board = Board(board_fd)
            self.process = subprocess.Popen(
                options.command(theirs.fileno(), board_fd, door_fd),
                pass_fds=(theirs.fileno(), board_fd, door_fd, *(options.probe_fds or ())),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
            )
        finally:
            theirs.close()
            self.door.theirs.close()
            os.close(board_fd)
        self.link.setblocking(False)

    def hung(self, now_ns: int) -> list[int]:
        """Return the workers (indexes of the board) that show no life."""
        late = []
        for worker, mark in enumerate(self.board.read()):
            patience_ns = READ_HUNG_NS if worker == READER else HUNG_NS
            at_work = worker == CONTROL or mark.ticket != IDLE
            if at_work and now_ns - mark.beat_ns > patience_ns:
                late.append(worker)
        return late

    def end(self) -> None:
        """Kill it and let go; a process stuck in the kernel is not waited for."""
        self.process.kill()
        self.door.close()
        self.link.close()
        self.board.close()


class HashClient:
    """Sends requests, hands out replies. Call `receive` at least once a second."""

    def __init__(
        self, options: HasherOptions, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Start the first hasher."""
        self._options = options
        self._clock_ns = clock_ns
        self._events = select.epoll()
        self._outstanding: dict[int, Request] = {}
        self._strikes: dict[int, int] = {}
        self._unsent: deque[Request] = deque()
        self._packet = (b"", 0)  # the first of them, encoded, and how many it holds
        self._stalled = False
        self._answered: list[Reply] = []
        self._dead: list[subprocess.Popen[bytes]] = []
        self._failures = 0
        self._not_before_ns = 0
        self._received_ns = self._watched_ns = clock_ns()
        self._child: _Child | None = None
        self._start()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `receive` has something to do.

        It stays the same over restarts of the hasher.
        """
        return self._events.fileno()

    @property
    def outstanding(self) -> int:
        """Number of requests that were sent and not answered."""
        return len(self._outstanding)

    @property
    def pid(self) -> int:
        """Process id of the hasher that runs now, 0 when none does."""
        return 0 if self._child is None else self._child.process.pid

    def send(self, request: Request) -> bool:
        """Take a request; False when too many are outstanding (try again later).

        What was taken leaves in few records at the next `receive`. Tickets are the caller's and
        unique among what is outstanding.
        """
        if len(self._outstanding) >= OUTSTANDING_LIMIT:
            return False
        if not (isinstance(request, HashRequest) and request.hold_only):
            self._outstanding[request.ticket] = request
        self._unsent.append(request)
        return True

    def receive(self) -> list[Reply]:
        """Return the replies that are there; watch over the hasher; never wait."""
        late_ns = self._clock_ns() - self._received_ns
        self._received_ns += late_ns
        if self._child is None:
            self._start()
        else:
            gone = self._drain(self._child)
            # After a pause of our own it may have waited for us: look again next time.
            judge = late_ns < HUNG_NS // 2
            if gone or not judge or self._received_ns - self._watched_ns >= _WATCH_EVERY_NS:
                self._watched_ns = self._received_ns if judge else self._watched_ns
                self._watch(judge=judge)
        self._flush()
        self._dead = [process for process in self._dead if process.poll() is None]
        answered, self._answered = self._answered, []
        return answered

    def close(self) -> None:
        """End the hasher; what is outstanding stays unanswered."""
        if self._child is not None:
            child, self._child = self._child, None
            self._events.unregister(child.link)
            child.link.close()  # the hasher ends by itself when its socket closes
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(_CLOSE_WAIT_S)
            child.end()
            self._dead.append(child.process)
        for process in self._dead:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_CLOSE_WAIT_S)
        self._events.close()

    def _start(self) -> None:
        now_ns = self._clock_ns()
        if now_ns < self._not_before_ns:
            return
        self._child = _Child(self._options, now_ns)
        self._events.register(self._child.link, select.EPOLLIN)
        self._stalled = False
        held = [request for request in self._unsent if request.ticket not in self._outstanding]
        self._unsent = deque([*self._outstanding.values(), *held])
        self._packet = (b"", 0)

    def _flush(self) -> None:
        child = self._child
        while self._unsent and child is not None:
            data, count = self._packet = self._packet if self._packet[1] else packet(self._unsent)
            try:
                child.link.send(data)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break  # full, or gone: then `receive` finds out and starts anew
            self._packet = (b"", 0)
            for _ in range(count):
                self._unsent.popleft()
        if child is not None and bool(self._unsent) != self._stalled:
            self._stalled = bool(self._unsent)
            writable = select.EPOLLOUT if self._stalled else 0
            self._events.modify(child.link, select.EPOLLIN | writable)

    def _drain(self, child: _Child) -> bool:
        """Take what it said; return whether it let go of its end."""
        for _ in range(_RECEIVE_AT_ONCE):
            try:
                data = child.link.recv(MESSAGE_LIMIT_BYTES)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            if not data:
                return True
            try:
                messages = unpacked(data)
            except ValueError as error:  # it has fewer rights than we: start another
                _log.error("the hasher said something else, and is ended: %s", error)
                child.process.kill()
                return True
            for message in messages:
                self._note(message)
        return False

    def _note(self, message: object) -> None:
        if not isinstance(message, (HashReply, CodeReply, InspectReply)):
            return
        if message.ticket not in self._outstanding:
            return
        if isinstance(message, InspectReply) and message.place != DONE:
            self._answered.append(message)
        else:
            del self._outstanding[message.ticket]
            self._strikes.pop(message.ticket, None)
            self._failures = 0
            self._answered.append(message)

    def _watch(self, *, judge: bool) -> None:
        child = self._child
        if child is None:
            return
        status = child.process.poll()
        marks = child.board.read()
        if status is not None:
            self._drain(child)  # what it said before it died
            suspects = [mark.ticket for mark in marks if mark.ticket != IDLE]
            self._replace(f"ended with status {status}", suspects)
        elif judge and (hung := child.hung(self._clock_ns())):
            self._replace("hung", [marks[worker].ticket for worker in hung])

    def _replace(self, what: str, suspects: list[int]) -> None:
        _log.warning("the hasher %s at tickets %s: starting another", what, suspects)
        if self._child is not None:
            child, self._child = self._child, None
            self._events.unregister(child.link)
            child.end()
            self._dead.append(child.process)
        for ticket in suspects:
            self._strike(ticket, what)
        self._not_before_ns = self._clock_ns() + min(
            _RESTART_WAIT_LIMIT_NS, self._failures * _RESTART_WAIT_NS
        )
        self._failures += 1
        self._start()

    def _strike(self, ticket: int, what: str) -> None:
        request = self._outstanding.get(ticket)
        if request is None:
            return
        self._strikes[ticket] = self._strikes.get(ticket, 0) + 1
        if self._strikes[ticket] < STRIKES:
            return
        del self._strikes[ticket]
        del self._outstanding[ticket]
        if isinstance(request, CodeRequest):
            self._answered.append(CodeReply(ticket))
            return
        if isinstance(request, InspectRequest):
            self._answered.append(InspectReply(ticket, DONE))
            return
        reason = f"the hasher {what} {STRIKES} times while reading it"
        self._answered.append(HashReply(ticket, "unhashed", reason=reason))
