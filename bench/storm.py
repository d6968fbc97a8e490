"""Storms of processes: whether each beginning and end is an answer, at the rate that was reached.

Only measures; a real daemon and a real collector. The spawner is bench/storm.c, what it starts
bench/nothing.c, the least that can be executed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import Section, to_markdown
from bench.stage import Stage, cpu_s, resident_bytes, stage
from tests.kernel.workload import Workloads

PER_SECOND = 5_000
SECONDS = 20
THREADS = 4
AT_ONCE = 10_000
STANDSTILL_S = 2.0
PATIENCE_SECONDS = 60.0
_WATCH_S = 0.2
_HERE = Path(__file__).parent

COUNTS = """
SELECT count(*), count(p.ended_at) FROM processes p JOIN runs r USING (run_id)
WHERE r.command LIKE '%{words}%' AND p.pid != 0
"""


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm: what to start, how many, how many a second (0: as fast as it goes)."""

    name: str
    how: str  # exec or clone
    count: int
    per_second: int = 0
    standstill_s: float = 0.0  # the daemon is stopped so long from the beginning on

    @property
    def words(self) -> str:
        """Return the spawner's words, which tell its run from others."""
        return f"storm {self.how} {THREADS} {self.count} {self.per_second}"


def storms(seconds: int) -> tuple[Storm, ...]:
    """Return the storms, the long ones for so many seconds."""
    paced = PER_SECOND * seconds
    return (
        Storm("programs at a pace", "exec", paced, PER_SECOND),
        Storm("programs as fast as it goes", "exec", paced + THREADS),
        Storm(
            "programs at a pace, daemon stopped 2 s",
            "exec",
            4 * PER_SECOND - THREADS,
            PER_SECOND,
            STANDSTILL_S,
        ),
        Storm("programs as fast as it goes, daemon stopped 2 s", "exec", 20_000, 0, STANDSTILL_S),
        Storm("processes without a program, daemon stopped 2 s", "clone", 30_000, 0, STANDSTILL_S),
    )


def measure(seconds: int = SECONDS) -> Section:
    """Run each storm once and compare what was done with what is answered."""
    with (
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        stage() as whence,
    ):
        spawner, nothing = compiled(Path(folder))
        whence.settle()
        bare = {how: _bare(spawner, how, nothing) for how in ("exec", "clone")}
        rows = [_row(whence, storm, spawner, nothing) for storm in storms(seconds)]
        rows.append(_at_once(whence, Workloads.compile(Path(folder))))
        size = nothing.stat().st_size
    return Section(
        "storm",
        "storms of processes",
        f"no event lost at {PER_SECOND:,} fork+exec/s, nor while the daemon stands still",
        f"`bench/storm.c`, {THREADS} threads, each a child at a time by vfork; the program is"
        f" {size} bytes without a library. Where nobody watches, this machine starts"
        f" {bare['exec']:,.0f} programs a second, or {bare['clone']:,.0f} children without one."
        f" Last, {AT_ONCE:,} processes that end together. Counted in the view `processes` when all"
        " is delivered, with the records and texts that were lost, and the processes whose birth or"
        " end only a walk over all tasks found. Daemon: CPU for each process, memory at most."
        " `python -m bench.storm --seconds 4` is a short form.",
        (
            "storm",
            "a second",
            "begun",
            "known",
            "ended",
            "lost",
            "unbalanced",
            "daemon, of each",
            "resident",
        ),
        tuple(rows),
    )


def compiled(folder: Path) -> tuple[Path, Path]:
    """Compile the spawner and what it starts. Raises CalledProcessError."""
    spawner, nothing = folder / "storm", folder / "nothing"
    subprocess.run(["cc", "-O2", "-pthread", "-o", spawner, _HERE / "storm.c"], check=True)
    flags = ["-Os", "-s", "-static", "-nostdlib", "-fno-asynchronous-unwind-tables"]
    subprocess.run(["cc", *flags, "-o", nothing, _HERE / "nothing.c"], check=True)
    return spawner, nothing


def _bare(spawner: Path, how: str, nothing: Path) -> float:
    """Processes a second outside of what is captured."""
    command = [str(spawner), how, str(THREADS), "20000", "0", str(nothing)]
    count, seconds = subprocess.check_output(command, text=True).split()
    return int(count) / float(seconds)


def _row(whence: Stage, storm: Storm, spawner: Path, nothing: Path) -> tuple[str, ...]:
    print(f"storm: {storm.name} …", file=sys.stderr, flush=True)
    # The path of the spawner ends with the first of these words.
    command = [str(spawner), *storm.words.split()[1:], str(nothing)]
    with _accounted(whence) as account:
        process = whence.scope.start(command, whence.place)
        if storm.standstill_s:
            _stand_still(whence, storm.standstill_s)
        begun, seconds = process.communicate()[0].split()
        whence.settle()
    account.count = int(begun)
    known, ended = _answered(whence, storm.words, int(begun) + 1)
    return (storm.name, f"{int(begun) / float(seconds):,.0f}", *account.cells(known - 1, ended - 1))


def _stand_still(whence: Stage, seconds: float) -> None:
    daemon = whence.pids()["daemon"]
    os.kill(daemon, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(daemon, signal.SIGCONT)


def _at_once(whence: Stage, workloads: Workloads) -> tuple[str, ...]:
    print("storm: many ends at once …", file=sys.stderr, flush=True)
    with _accounted(whence) as account:
        whence.scope.run(workloads.command("storms", "at_once", str(AT_ONCE)), whence.place)
        whence.settle()
    account.count = AT_ONCE
    known, ended = _answered(whence, f"storms at_once {AT_ONCE}", AT_ONCE + 1)
    return ("processes that end together", "-", *account.cells(known - 1, ended - 1))


@dataclass(slots=True)
class Account:
    """What a storm cost and lost."""

    count: int = 0
    lost: int = 0
    unbalanced: int = 0
    cpu_s: float = 0.0
    resident_bytes: int = 0

    def cells(self, known: int, ended: int) -> tuple[str, ...]:
        """Return the cells of a row from `begun` on."""
        numbers = (self.count, known, ended, self.lost, self.unbalanced)
        return (
            *(f"{number:,}" for number in numbers),
            f"{self.cpu_s / max(1, self.count) * 1e6:.0f} µs",
            f"{self.resident_bytes / 1e6:.0f} MB",
        )


@contextmanager
def _accounted(whence: Stage) -> Iterator[Account]:
    account, done, daemon = Account(), threading.Event(), whence.pids()["daemon"]
    lost, unbalanced = _losses(whence)
    began_s = cpu_s(daemon)

    def watch() -> None:
        while not done.wait(_WATCH_S):
            account.resident_bytes = max(account.resident_bytes, resident_bytes(daemon))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield account
    finally:
        done.set()
        watcher.join()
    lost_now, unbalanced_now = _losses(whence)
    account.lost, account.unbalanced = lost_now - lost, unbalanced_now - unbalanced
    account.cpu_s = cpu_s(daemon) - began_s


def _answered(whence: Stage, words: str, expected: int) -> tuple[int, int]:
    """Count processes and ends until all are answers, or for PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        ((known, ended),) = whence.sql(COUNTS.format(words=words))
        counts = int(str(known)), int(str(ended))
        if counts == (expected, expected) or time.monotonic() > deadline:
            return counts
        time.sleep(1.0)


def _losses(whence: Stage) -> tuple[int, int]:
    status = whence.status()
    lost = sum(status["counters"][name]["lost"] for name in ("life", "text"))
    return lost, int(status["proof"]["differences"])


def main() -> int:
    """Print the table of a shorter storm."""
    parser = argparse.ArgumentParser(prog="bench.storm", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    print(to_markdown(measure(parser.parse_args().seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
