"""/proc/PID/stat, whose second field may hold anything (proc_pid_stat(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# 10 ms on every Linux that we know.
TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_START_TIME: Final = 19  # counted after the command name


def fields(pid: int, proc: Path = PROC) -> list[str]:
    """Return the fields from the state on. Raises OSError, ValueError."""
    text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    return text[text.rindex(")") + 2 :].split()


def start_ns(pid: int, proc: Path = PROC) -> int:
    """When a process began, boot clock, to a tick. Raises OSError, ValueError, IndexError."""
    return int(fields(pid, proc)[_START_TIME]) * TICK_NS


def to_tick(at_ns: int) -> int:
    """Return a time of the boot clock as start_ns() would tell it."""
    return at_ns // TICK_NS * TICK_NS
