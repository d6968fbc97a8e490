"""The hasher: a process of its own that reads file content and repositories for the daemon.

Talks to nobody but the daemon that started it, over one inherited socket; ends when that closes.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from whenced import priority
from whenced.code_state import CodeReader
from whenced.door import Door, go_through
from whenced.hash_file import Reading
from whenced.hash_messages import (
    CODE,
    CONTROL,
    IDLE,
    MESSAGE_LIMIT_BYTES,
    OPENER,
    Board,
    CodeRequest,
    HashRequest,
    InspectRequest,
    Message,
    Reply,
    packet,
    unpacked,
)
from whenced.hash_open import OpenedFile, Probe, fstat_probe, open_requested
from whenced.hash_queue import BUDGET, NO_FD, Job, JobQueue, Shelf
from whenced.hash_reader import Reader
from whenced.inspection import Inspector
from whenced.share import SECOND_NS, Bucket
from whenced.stat_cache import StatCache

_BEAT_MS: Final = 1000
_SPARE_FDS: Final = 128
#: The opener must get the interpreter's lock soon, whatever the other threads compute.
_SWITCH_S: Final = 0.001
_EXIT_INTERNAL: Final = 70

_log: Final = logging.getLogger("whenced.hasher")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    cache: Path
    share: float
    limit_bytes: int


class Hasher:
    """Three working threads and the loop that feeds them."""

    def __init__(
        self, link: socket.socket, board: Board, probe: Probe, settings: Settings, budget: int
    ) -> None:
        """Serve the daemon at the other end of `link`; hold at most `budget` descriptors."""
        self._link = link
        self._board = board
        self._probe = probe
        self._settings = settings
        self._budget = budget
        self._to_open: queue.SimpleQueue[list[HashRequest]] = queue.SimpleQueue()
        self._to_inspect: queue.SimpleQueue[CodeRequest | InspectRequest] = queue.SimpleQueue()
        self._jobs = JobQueue()
        self._shelf = Shelf()

    def run(self) -> None:
        """Serve until the daemon closes the socket."""
        for work in (self._open_all, self._read_all, self._inspect_all):
            threading.Thread(target=work, daemon=True).start()
        waiting = select.poll()
        waiting.register(self._link, select.POLLIN)
        while True:
            now_ns = time.monotonic_ns()
            self._board.mark(CONTROL, IDLE, now_ns)
            if not waiting.poll(_BEAT_MS):
                self._shelf.expire(now_ns, self._budget // 2)
                continue
            try:
                data = self._link.recv(MESSAGE_LIMIT_BYTES)
            except ConnectionResetError:  # the daemon was killed with replies unread
                return
            if not data:
                return
            self._accept(unpacked(data))

    def _accept(self, messages: list[Message]) -> None:
        files = [message for message in messages if isinstance(message, HashRequest)]
        if files:
            self._to_open.put(files)
        for message in messages:
            if isinstance(message, CodeRequest | InspectRequest):
                self._to_inspect.put(message)

    def _reply(self, replies: Sequence[Reply]) -> None:
        sent = 0
        # The daemon is gone: the main thread learns it from the same socket and ends us.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < len(replies):
                data, count = packet(replies[sent:])
                self._link.send(data)
                sent += count

    def _open_all(self) -> None:
        """Take descriptors at once, so that bytes of deleted files can still be read."""
        while True:
            self._board.mark(OPENER, IDLE, time.monotonic_ns())
            requests = self._to_open.get()
            for request in requests:
                self._board.mark(OPENER, request.ticket, time.monotonic_ns())
                self._hold(request)

    def _hold(self, request: HashRequest) -> None:
        now_ns = time.monotonic_ns()
        self._shelf.expire(now_ns, self._budget // 2)
        fd = self._shelf.take(request)
        size_bytes = max(0, request.size_bytes)
        if fd == NO_FD and self._jobs.held + len(self._shelf) < self._budget:
            opened = open_requested(request, self._probe)
            if not isinstance(opened, OpenedFile):
                if not request.hold_only:
                    self._reply([opened])
                return
            fd, size_bytes = opened.fd, opened.size_bytes
        if not request.hold_only:
            self._jobs.put(Job(request, fd, size_bytes, now_ns))
        elif fd != NO_FD:
            self._shelf.keep(request, fd, now_ns)

    def _read_all(self) -> None:
        cache = StatCache(self._settings.cache)
        reading = Reading(self._probe, cache, limit_bytes=self._settings.limit_bytes)
        share = self._settings.share
        Reader(self._jobs, self._shelf, self._board, self._reply, reading, share).run()

    def _inspect_all(self) -> None:
        reader, inspector = CodeReader(), Inspector()
        bucket = Bucket(self._settings.share, time.monotonic_ns())
        while True:
            self._board.mark(CODE, IDLE, time.monotonic_ns())
            request = self._to_inspect.get()
            self._board.mark(CODE, request.ticket, time.monotonic_ns())
            started_ns = time.thread_time_ns()
            if isinstance(request, CodeRequest):
                replies: Iterable[Reply] = [reader.read(request)]
            else:
                replies = inspector.answer(request, self._alive_at(request.ticket))
            for reply in replies:
                self._reply([reply])
            self._board.mark(CODE, IDLE, time.monotonic_ns())
            rest_ns = bucket.take(time.thread_time_ns() - started_ns, time.monotonic_ns())
            time.sleep(rest_ns / SECOND_NS)

    def _alive_at(self, ticket: int) -> Callable[[], None]:
        return lambda: self._board.mark(CODE, ticket, time.monotonic_ns())


def main(arguments: list[str] | None = None) -> int:
    """Run the hasher on inherited descriptors; return its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    threading.excepthook = _end_process
    sys.setswitchinterval(_SWITCH_S)
    priority.set_nice(priority.PATIENT)
    link = socket.socket(fileno=options.fd)
    settings = Settings(options.cache, options.share, options.limit_bytes)
    probe = _probe(options.probe_fd, options.probe_map_fd)
    if options.door_fd != NO_FD:
        go_through(Door(options.door_fd))
    Hasher(link, Board(options.board_fd), probe, settings, _descriptor_budget()).run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="whenced.hasher", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="socket to the daemon")
    parser.add_argument("--board-fd", type=int, required=True, help="shared page of marks")
    parser.add_argument("--cache", type=Path, required=True, help="file of known digests")
    parser.add_argument("--share", type=float, default=0.5, help="share of one core at most")
    parser.add_argument("--limit-bytes", type=int, default=0, help="largest file read, 0: any")
    parser.add_argument("--probe-fd", type=int, default=NO_FD, help="BPF program: inode probe")
    parser.add_argument("--probe-map-fd", type=int, default=NO_FD, help="BPF map it answers in")
    text = "socket to the daemon: roots and descriptors of other processes"
    parser.add_argument("--door-fd", type=int, default=NO_FD, help=text)
    return parser


def _probe(program_fd: int, map_fd: int) -> Probe:
    if NO_FD in (program_fd, map_fd):
        return fstat_probe
    # Loads libbpf, which a hasher without a probe has no need of.
    from whenced.inode_probe import InodeProbe  # noqa: PLC0415 - see the line above

    return InodeProbe(program_fd, map_fd)


def _descriptor_budget() -> int:
    """Raise the soft limit as far as needed; return how many descriptors may be held."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = BUDGET + _SPARE_FDS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(BUDGET, soft - _SPARE_FDS))


def _end_process(failure: threading.ExceptHookArgs) -> None:
    """End the process when a thread fails: the daemon starts another and knows at which file."""
    trace = (failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    _log.error("a hasher thread failed", exc_info=trace)
    os._exit(_EXIT_INTERNAL)


if __name__ == "__main__":
    # Threads may be stuck in a read that never returns; nobody waits for them.
    status = main()
    logging.shutdown()
    os._exit(status)
