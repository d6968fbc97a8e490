"""A process held by its pidfd and proven by its start, so that a used-again id is never signalled.

The only place of the daemon that signals processes which are not its own children.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from whenced import proc_stat

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def held(pid: int, start_ns: int) -> Iterator[int | None]:
    """Hold a process by a pidfd; None where the id is free or another process has it.

    The start is read while the descriptor is held: if the holder of the id began then, and the
    descriptor's process has not ended by now, they are one (pidfd_open(2)).
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield fd if _began(pid, start_ns) and not has_ended(fd) else None
    finally:
        os.close(fd)


def has_ended(fd: int) -> bool:
    """Whether the process of a pidfd has ended; a zombie has."""
    return bool(select.select([fd], [], [], 0)[0])


def send(fd: int, number: signal.Signals) -> bool:
    """Signal the very process of a pidfd; False where it has ended or may not be signalled."""
    try:
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    return True


def _began(pid: int, start_ns: int) -> bool:
    """Whether the process that has an id now began then; procfs tells ticks, the kernel side ns."""
    with suppress(OSError, ValueError, IndexError):
        return proc_stat.start_ns(pid) == proc_stat.to_tick(start_ns)
    return False


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: without one, most signals would end it."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
