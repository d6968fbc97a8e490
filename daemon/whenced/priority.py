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
#: Behind by two seconds: a fair share, so that an answer is late by a little and not for ever.
FAIR: Final = 0
#: About to stop taking records: now the loop is as important as the intake.
PRESSED: Final = -10

_LATE_NS: Final = 2_000_000_000
# How long a record may wait while the loop rests: a job that ends sooner never shares with it.
_RESTED_NS: Final = 1_000_000_000
_RESTED_SHARE: Final = 0.25
# A step costs something even when little happened: so long in between at least.
_PACE_S: Final = 0.005
# Rests of seven times the turn leave seven eighths of a core to others; none is longer than this.
_REST_TURNS: Final = 7
_LONGEST_REST_S: Final = 0.2


def of_loop(held_share: float, waited_ns: int) -> int:
    """Nice value of the deciding loop.

    ``held_share`` is how much of the memory for records is in use (0 to 1), ``waited_ns`` how
    long the oldest of them waits. Not lower than PATIENT even when idle: a thread that is
    starved while it holds the interpreter's lock keeps the intake waiting too.
    """
    if held_share >= 0.5:
        return PRESSED
    return FAIR if waited_ns >= _LATE_NS else PATIENT


def rest_s(spent_s: float, held_share: float, waited_ns: int) -> float:
    """How long the deciding loop rests after a turn that took ``spent_s``.

    What a burst leaves is mostly decided when it is over: until then the loop takes an eighth of a
    core, and with it the hasher and the collector, which get their work from it. Nothing is late
    in calm times, when a turn takes a millisecond.
    """
    if held_share >= _RESTED_SHARE or waited_ns >= _RESTED_NS:
        return 0.0
    return min(max(_PACE_S, _REST_TURNS * spent_s), _LONGEST_REST_S)


def set_nice(nice: int) -> None:
    """Set the nice value of the calling thread; without CAP_SYS_NICE it stays as it is."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
