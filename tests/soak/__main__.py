"""`python -m tests.soak`: kills by the thousand; ends with 1 when the accounts do not agree."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scope import Scope
from tests.soak import deaths
from tests.soak.kills import soak


def main() -> int:
    """Run rounds in blocks, each with a database of its own; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--block", type=int, default=100, help="rounds with one database")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--delivery", action="store_true", help="relay and collector alone, batches made up"
    )
    parser.add_argument("--minutes", type=float, default=240.0, help="begin no block after it")
    options = parser.parse_args()
    done, began_s = 0, time.monotonic()
    with killer(options.delivery) as kill:
        while done < options.rounds and time.monotonic() - began_s < options.minutes * 60:
            rounds = min(options.block, options.rounds - done)
            with tempfile.TemporaryDirectory(prefix="whence-soak-") as folder:
                told, wrong = kill(Path(folder), rounds, options.seed + done)
            done += rounds
            sys.stdout.write(
                f"{done:,} kills in {time.monotonic() - began_s:,.0f} s: {told}, "
                f"{wrong or '0 lost, 0 twice'} (seed {options.seed})\n"
            )
            sys.stdout.flush()
            if wrong:
                return 1
    return 0


class Killer:
    """One way of killing; adds up what it went through."""

    def __init__(self) -> None:
        self._rows = 0

    def __call__(self, folder: Path, rounds: int, seed: int) -> tuple[str, str]:
        """Kill so many times; return what was gone through, and what is wrong."""
        found = soak(folder, rounds, seed)
        self._rows += found.rows
        agree = found.stored_batches == found.batches
        agree = agree and found.stored_rows == found.distinct_rows == found.rows
        return f"{self._rows:,} rows", "" if agree else f"accounts differ: {found}"


class Deaths(Killer):
    """The whole way, from the kernel on."""

    def __init__(self, scope: Scope, program: Path) -> None:
        super().__init__()
        self._scope, self._program = scope, program
        self._kills: Counter[str] = Counter()
        self._files = self._processes = 0

    def __call__(self, folder: Path, rounds: int, seed: int) -> tuple[str, str]:
        """Kill so many times; return what was gone through, and what is wrong."""
        found = deaths.block(folder, self._scope, self._program, rounds, seed)
        self._kills += found.kills
        self._files, self._processes = self._files + found.files, self._processes + found.processes
        kills = ", ".join(f"{name} {count:,}" for name, count in self._kills.most_common())
        told = f"{kills}; {self._processes:,} processes, {self._files:,} files"
        return told, "; ".join(found.differences[:5])


@contextmanager
def killer(is_delivery: bool) -> Iterator[Killer]:
    """Make what the rounds need."""
    if is_delivery:
        yield Killer()
        return
    scope = Scope.create(f"whence-soak-{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory(prefix="whence-soak-") as folder:
            yield Deaths(scope, deaths.compiled(Path(folder)))
    finally:
        scope.remove()


if __name__ == "__main__":
    sys.exit(main())
