"""Single keys from a terminal, without Enter, while a live screen is drawn."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

QUIT = frozenset(b"qQ")


@contextmanager
def quit_key(stdin: TextIO) -> Iterator[Callable[[float], bool]]:
    """Give a pause of so many seconds that ends early, with True, when q is pressed.

    Keys are taken one by one and not shown (cbreak: Ctrl-C and Ctrl-Z keep their meaning); the
    terminal is put back in any case. Where the input is no terminal, the pause is only a pause.
    """
    if not stdin.isatty():
        yield _pause
        return
    terminal = stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _pressed(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(terminal: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            keys = os.read(terminal, 64)
            if not keys or QUIT & set(keys):  # nothing at all: the terminal is gone
                return True
    return False
