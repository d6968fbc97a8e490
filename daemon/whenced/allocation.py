"""Memory that a flood took goes back to the host when the flood is over.

glibc's malloc (mallopt(3)) keeps what was freed once: it raises its own limits with each large
block, and gives every thread a heap of its own. Both are set once, before there are threads.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 128 << 10
_ARENAS: Final = 2


def bound() -> None:
    """Set the limits; without glibc nothing is set and nothing else is lost."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in (
            (_M_MMAP_THRESHOLD, _LARGE_BYTES),
            (_M_TRIM_THRESHOLD, _LARGE_BYTES),
            (_M_ARENA_MAX, _ARENAS),
        ):
            libc.mallopt(option, value)


def trim() -> None:
    """Give back what is free."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
