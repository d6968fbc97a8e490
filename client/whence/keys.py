"""Single keys from a terminal, without Enter, while a live screen is drawn."""

from __future__ import annotations

import os
import select
import signal
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
        with _signals() as signals:
            yield lambda seconds: _pressed(terminal, signals, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _signals() -> Iterator[int]:
    """Give a descriptor from which each signal can be read that Python handles.

    A Ctrl-C that comes just before select() begins would not end it, and one whose
    KeyboardInterrupt was raised in some object's __del__ is lost.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(terminal: int, signals: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select([terminal, signals], [], [], left)[0]
        if signals in ready and signal.SIGINT in os.read(signals, 64):
            raise KeyboardInterrupt
        if terminal in ready:
            keys = os.read(terminal, 64)
            if not keys or QUIT & set(keys):  # nothing at all: the terminal is gone
                return True
    return False
