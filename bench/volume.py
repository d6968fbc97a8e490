"""Many files at full speed: what is lost, and how much longer it takes.

Only measures. Loss is told by the daemon's counters and, apart from them, by comparing what the
collector answers with the list of what was really touched.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import Section, ratio, spread
from bench.stage import Stage, memory_folder, stage

FILES = 50_000
FOLDERS = 500
WRITERS = 4
FILES_EACH = 3_000
ROUNDS = 3
_ARCHIVE = "files.tar"
_READ = "find files -type f -print0 | xargs -0 cat > /dev/null"
# Each writer works in a folder of its own, as data loaders and test runners do.
_WRITE = """
import sys
for number in range(%d):
    with open(f"{sys.argv[1]}/{number:05d}", "w") as out:
        out.write(f"{number}\\n" * 20)
"""
_WRITE_ALL = " ".join(f"python3 -S write.py writer{at} &" for at in range(WRITERS)) + " wait"
_JOBS: tuple[tuple[str, str], ...] = (
    ("unpack 50,000 files (`tar xf`)", f"tar xf {_ARCHIVE}"),
    ("read them (`xargs cat`)", _READ),
    ("delete them (`rm -r`)", "rm -r files"),
    (f"{WRITERS} processes write {FILES_EACH:,} files each", _WRITE_ALL),
)


@dataclass(frozen=True, slots=True)
class Edges:
    """Distinct paths that an operation touched: really, and as the collector tells."""

    operation: str
    real: int
    missing: int
    invented: int


def measure() -> Section:
    """Compare the edges of one captured round, then time rounds with and without the daemon."""
    with memory_folder() as below, stage(below) as whence:
        _prepare(whence.place)
        edges, counters, hashed = _captured_round(whence)
        timings = [_round(whence, number) for number in range(ROUNDS)]
    rows = [
        (
            name,
            spread([bare[at] for bare, _ in timings], "s", 2),
            spread([seen[at] for _, seen in timings], "s", 2),
            ratio([seen[at] for _, seen in timings], [bare[at] for bare, _ in timings]),
        )
        for at, (name, _) in enumerate(_JOBS)
    ]
    return Section(
        "volume",
        "many files at full speed",
        "0 edges lost while 50,000 files are unpacked, read and deleted",
        f"{FILES:,} files of 100 B to 4 KB in {FOLDERS} folders. {ROUNDS} rounds, each without the"
        " daemon (its programs detached) and then with it, or the other way round; ratios are of"
        " the two in one round. Before each, everything of the last one is hashed and committed."
        " Files are in memory.",
        ("job", "without whence", "with whence", "ratio"),
        tuple(rows),
        (_lost(edges, counters), hashed),
    )


def _prepare(place: Path) -> None:
    """Write the archive and the program of the writers, outside of what is captured."""
    (place / "write.py").write_text(_WRITE % FILES_EACH, encoding="ascii")
    with tarfile.open(place / _ARCHIVE, "w") as archive:
        for number, name in enumerate(_names()):
            content = (b"%08d" % number) * (13 + number % 500)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _names() -> list[str]:
    return [f"files/{at % FOLDERS:03d}/{at:05d}" for at in range(FILES)]


def _written(place: Path) -> set[str]:
    return {f"{place}/writer{at}/{n:05d}" for at in range(WRITERS) for n in range(FILES_EACH)}


def _run_all(place: Path, run: Callable[[Sequence[str]], float]) -> list[float]:
    """Run the jobs one after the other; return the seconds of each."""
    for at in range(WRITERS):
        (place / f"writer{at}").mkdir()
    seconds = [run(["sh", "-c", command]) for _, command in _JOBS]
    for at in range(WRITERS):
        shutil.rmtree(place / f"writer{at}")
    return seconds


def _captured_round(whence: Stage) -> tuple[list[Edges], dict[str, int], str]:
    before = whence.status()["counters"]
    _run_all(whence.place, whence.run)
    whence.settle()
    after = whence.status()["counters"]
    counters = {name: after[name]["lost"] - before[name]["lost"] for name in after}
    with whence.client() as client:
        told = client.status().daemons
    counters["told to the collector"] = sum(daemon.lost for daemon in told)
    files = {f"{whence.place}/{name}" for name in _names()}
    expected = {
        "write": files | _written(whence.place),
        "read": files | {str(whence.place / _ARCHIVE)},
        "delete": files,
    }
    edges = [_compare(whence, operation, paths) for operation, paths in expected.items()]
    return edges, counters, _hashed(whence)


def _compare(whence: Stage, operation: str, expected: set[str]) -> Edges:
    below = f"starts_with(path, '{whence.place}/')"
    # The program of the writers is read as well, but is no part of the list.
    mine = "AND path NOT LIKE '%.py'"
    rows = whence.sql(
        f"SELECT DISTINCT path FROM file_accesses WHERE op = '{operation}' AND {below} {mine}"  # noqa: S608 -- our own words
    )
    seen = {str(path) for (path,) in rows}
    return Edges(operation, len(expected), len(expected - seen), len(seen - expected))


def _hashed(whence: Stage) -> str:
    """Tell how many of the files that were written have a digest, by state."""
    written = f"op = 'write' AND starts_with(path, '{whence.place}/')"
    states = whence.sql(
        f"SELECT artifact_state, count(DISTINCT path) FROM file_accesses WHERE {written}"  # noqa: S608 -- our own words
        " GROUP BY ALL ORDER BY ALL"
    )
    told = ", ".join(f"{count:,} {state or 'undecided'}" for state, count in states)
    return f"Content of the versions that were written: {told}. The files are gone within seconds."


def _lost(edges: list[Edges], counters: dict[str, int]) -> str:
    compared = "; ".join(
        f"{each.operation}: {each.real:,} paths, {each.missing:,} missing,"
        f" {each.invented:,} that never were"
        for each in edges
    )
    counted = ", ".join(f"{name} {lost:,}" for name, lost in counters.items())
    return f"Edges of one round, compared with the list: {compared}. Counted as lost: {counted}."


def _round(whence: Stage, number: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each job without and with the daemon."""
    bare: list[float] = []
    seen: list[float] = []
    for with_daemon in (False, True) if number % 2 else (True, False):
        os.sync()
        if with_daemon:
            seen = _run_all(whence.place, whence.run)
            whence.settle()
        else:
            whence.stop_daemon()
            time.sleep(1.0)  # the collector commits what came last
            bare = _run_all(whence.place, whence.run)
            whence.start_daemon()
    return bare, seen
