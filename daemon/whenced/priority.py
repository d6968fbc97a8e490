"""How the daemon's threads share the processors with the jobs that it watches.

The choice is pure; only the functions at the end act, on the calling thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

#: Empties the rings: late it would lose records, and each turn is short.
INTAKE: Final = -10
#: What nobody waits for gives way to every job (sched(7): a tenth of the weight of nice 0).
PATIENT: Final = 10
#: Behind by a second: a fair share, so that an answer is late by a little and not for ever.
FAIR: Final = 0
#: About to stop taking records: now the loop is as important as the intake.
PRESSED: Final = -10

_LATE_NS: Final = 1_000_000_000


def of_loop(held_share: float, waited_ns: int) -> int:
    """Nice value of the deciding loop.

    ``held_share`` is how much of the memory for records is in use (0 to 1), ``waited_ns`` how
    long the oldest of them waits. Not lower than PATIENT even when idle: a thread that is
    starved while it holds the interpreter's lock keeps the intake waiting too.
    """
    if held_share >= 0.5:
        return PRESSED
    return FAIR if waited_ns >= _LATE_NS else PATIENT


def set_nice(nice: int) -> None:
    """Set the nice value of the calling thread; without CAP_SYS_NICE it stays as it is."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
