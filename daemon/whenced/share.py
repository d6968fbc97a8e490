"""How much of the machine the hasher may take: a bounded share of one core, idle disk time.

The bucket is pure arithmetic; the functions only set the calling thread's own priorities.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from typing import Final

SECOND_NS: Final = 1_000_000_000
#: CPU time that may be used at once after a rest.
BURST_NS: Final = 3 * SECOND_NS

_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
_IOPRIO_IDLE: Final = 3 << 13
_NICEST: Final = 19

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Bucket:
    """Token bucket on CPU time: in any t seconds at most share * t + burst are used."""

    def __init__(self, share: float, now_ns: int, burst_ns: int = BURST_NS) -> None:
        """Start full. `share` is of one core (0.5: half of one)."""
        self._share = share
        self._burst_ns = float(burst_ns)
        self._level_ns = float(burst_ns)
        self._at_ns = now_ns

    def take(self, used_ns: int, now_ns: int) -> int:
        """Charge `used_ns` of CPU time; return how long to rest before using more."""
        earned_ns = max(0, now_ns - self._at_ns) * self._share
        self._at_ns = now_ns
        self._level_ns = min(self._burst_ns, self._level_ns + earned_ns) - used_ns
        return max(0, int(-self._level_ns / self._share))


def idle_disk_priority() -> None:
    """Let the calling thread read only when nobody else wants the disk (ioprio_set(2))."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:  # elsewhere the nice value decides, as the kernel documents
        _libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)


@contextlib.contextmanager
def nicest() -> Iterator[None]:
    """Run the calling thread at nice 19 for the length of a bulk read or digest.

    Not for the thread's whole life: one that is starved while it holds the interpreter's lock
    would keep the opener from taking descriptors in time.
    """
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, _NICEST)
    try:
        yield
    finally:
        # Without CAP_SYS_NICE there is no way back, and staying nice harms nobody.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, before)
