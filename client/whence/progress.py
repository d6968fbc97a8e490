"""A progress bar for hashing on standard error; silent unless it is a terminal and work is long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

# Work that is over within a second shows nothing.
PATIENCE_NS = 1_000_000_000


class Clock(Protocol):
    """Tells monotonic nanoseconds."""

    def __call__(self) -> int:
        """Return the time."""


class HashingBar:
    """Call it with (bytes done, bytes in all); it shows itself once patience is over."""

    def __init__(self, name: str, err: TextIO, clock: Clock) -> None:
        self._name, self._err, self._clock = name, err, clock
        self._begun_ns = clock()
        self._shown: tuple[Progress, TaskID] | None = None

    def __call__(self, done_bytes: int, all_bytes: int) -> None:
        """Advance."""
        if self._shown is None and self._clock() - self._begun_ns > PATIENCE_NS:
            self._shown = self._show(all_bytes)
        if self._shown is not None:
            bar, task = self._shown
            bar.update(task, completed=done_bytes)

    def _show(self, all_bytes: int) -> tuple[Progress, TaskID]:
        # Only here: loading rich takes longer than most questions.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("hashing {task.fields[name]}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._err),
            transient=True,
        )
        task = bar.add_task("hash", total=all_bytes or None, name=self._name)
        bar.start()
        return bar, task

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self._shown is not None:
            self._shown[0].stop()


@contextmanager
def hashing_bar(
    name: str, err: TextIO, clock: Clock = time.monotonic_ns
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what to call with progress, or None where nobody would see it."""
    if not err.isatty():
        yield None
        return
    bar = HashingBar(name, err, clock)
    try:
        yield bar
    finally:
        bar.stop()
