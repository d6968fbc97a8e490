"""A flood in short: no edge is lost, and no call is lost or counted twice.

The whole of it, ten minutes at a million operations a second, is `make bench BENCH=floods`.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest
from bench.floods import POOL, PROGRAM
from tests.asking import Whence, settled
from tests.end_to_end.jobs import below
from tests.scope import Scope

pytestmark = pytest.mark.kernel

SECONDS = 2
RATE = 300_000


def reads_told(whence: Whence, place: Path) -> tuple[int, int]:
    """Return the calls that all rows add up to, and how many (process, file) pairs they name."""
    rows = whence.sql(
        "SELECT sum(ops) AS ops, count(DISTINCT (process_id, path)) AS pairs FROM file_accesses"  # noqa: S608 - ours
        f" WHERE op = 'read' AND {below(place / 'pool')}"
    )
    return int(rows[0]["ops"] or 0), int(rows[0]["pairs"])


def files_told(whence: Whence, place: Path) -> int:
    """Return how many files a worker is said to have made."""
    rows = whence.sql(
        "SELECT count(DISTINCT path) AS files FROM file_accesses"  # noqa: S608 - ours
        f" WHERE op = 'write' AND {below(place / 'worker')}"
    )
    return int(rows[0]["files"])


def test_a_flood_is_told_to_the_last_call(scope: Scope, whence: Whence, place: Path) -> None:
    (place / "flood.c").write_text(PROGRAM, encoding="ascii")
    subprocess.run(["cc", "-O2", "-w", "-o", place / "flood", place / "flood.c"], check=True)
    (place / "pool").mkdir()
    for number in range(POOL):
        (place / "pool" / str(number)).write_bytes(b"x")

    command = [str(place / "flood"), "worker", str(SECONDS), str(RATE)]
    reads, made, _ = scope.run(command, place).split()

    expected_reads, expected_files = (int(reads), POOL), int(made)
    told = settled(partial(reads_told, whence, place), expected_reads)
    files = settled(partial(files_told, whence, place), expected_files)
    assert (told, files) == (expected_reads, expected_files)
