"""Floods of processes: whether each beginning and end is an answer, at the rate that was reached.

Only measures; a real daemon and a real collector, and the workload of tests/workloads/storms.c.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.report import Section
from bench.stage import Stage, stage
from tests.kernel.workload import Workloads

PER_SECOND = 5_000
SECONDS = 20
AT_ONCE = 10_000
PATIENCE_SECONDS = 60.0

COUNTS = """
SELECT count(*), count(p.ended_at) FROM processes p JOIN runs r USING (run_id)
WHERE r.command LIKE '%storms {words}%' AND p.pid != 0
"""


def measure() -> Section:
    """Run each flood once and compare what was done with what is answered."""
    with (
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        stage() as whence,
    ):
        workloads = Workloads.compile(Path(folder))
        whence.settle()
        count = PER_SECOND * SECONDS
        rows = (
            _flood(whence, workloads, "programs", str(count), str(PER_SECOND), begun=count),
            _flood(whence, workloads, "programs", str(count), "0", begun=count),
            _flood(whence, workloads, "at_once", str(AT_ONCE), begun=AT_ONCE),
        )
    return Section(
        "storm",
        "floods of processes",
        f"no life-cycle event lost at {PER_SECOND:,} fork+exec/s, or when {AT_ONCE:,} end at once",
        f"`tests/workloads/storms.c`: {count:,} programs by vfork and exec, four at a time; then as"
        f" fast as it goes; then {AT_ONCE:,} processes that end together. Counted in the view"
        " `processes` when all is delivered, with the losses that the daemon knows of, and the"
        " processes whose birth or end only its walks over all tasks found.",
        ("flood", "reached a second", "begun", "known", "ended", "lost", "unbalanced"),
        rows,
    )


def _flood(whence: Stage, workloads: Workloads, *words: str, begun: int) -> tuple[str, ...]:
    before = _lost(whence)
    output = whence.scope.run(workloads.command("storms", *words), whence.place)
    whence.settle()
    known, ended = _answered(whence, words, begun + 1)
    lost, unbalanced = (now - then for now, then in zip(_lost(whence), before, strict=True))
    rate = f"{int(output):,}" if output.strip() else "-"
    # Less the process that made them.
    counted = (known - 1, ended - 1)
    return (
        "storms " + " ".join(words),
        rate,
        f"{begun:,}",
        *(f"{each:,}" for each in (*counted, lost, unbalanced)),
    )


def _answered(whence: Stage, words: tuple[str, ...], expected: int) -> tuple[int, int]:
    """Count processes and ends until all are answers, or for PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        ((known, ended),) = whence.sql(COUNTS.format(words=" ".join(words)))
        counts = int(str(known)), int(str(ended))
        if counts == (expected, expected) or time.monotonic() > deadline:
            return counts
        time.sleep(1.0)


def _lost(whence: Stage) -> tuple[int, int]:
    status = whence.status()
    life = status["counters"]["life"]["lost"]
    return int(life), int(status["proof"]["differences"])
