"""A million file operations a second for minutes, with every edge and every call compared.

Only measures. The jobs count their own calls and name their own files; what the collector tells is
compared with that, apart from the daemon's counters.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import Section, to_markdown
from bench.stage import Stage, cpu_s, resident_bytes, stage

SECONDS = 600
WORKERS = 4
RATE = 1_000_000  # operations a second of all workers together
POOL, DATASET, OWN = 800, 20_000, 50  # files, the last of each worker as in floods.c
_BARE_SECONDS = 10
_WATCH_S = 1.0
_TELL_EVERY = 30
_PATIENCE_S = 120.0
_SOURCE = Path(__file__).parent / "floods.c"

Sql = Callable[[str], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker says that it did."""

    name: str
    reads: int  # of the pool
    writes: int  # of its own files
    touched: int  # files of the data set, opened and read
    made: int
    deleted: int
    others: int  # opens, closes, renames, deletions, calls on files that were made
    seconds: float

    @property
    def operations(self) -> int:
        """Calls on files."""
        return self.reads + self.writes + self.others


@dataclass(frozen=True, slots=True)
class Compared:
    """Edges of one kind, and their calls where these are counted, as they were and as told."""

    kind: str
    real: int
    missing: int
    invented: int
    calls: int = 0
    calls_told: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether nothing is missing, invented, lost or counted twice."""
        return not self.missing and not self.invented and self.calls == self.calls_told


@dataclass(slots=True)
class Watched:
    """What the daemon was seen to hold and use, once a second."""

    resident_bytes: list[int] = field(default_factory=list)
    held_records: list[int] = field(default_factory=list)
    kernel_bytes: int = 0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What the workers did, bare and watched, and what is told of it."""

    bare_rate: float
    workers: tuple[Worker, ...]
    compared: tuple[Compared, ...]
    lost: dict[str, int]
    watched: Watched

    @property
    def operations(self) -> int:
        """Calls on files by all workers."""
        return sum(worker.operations for worker in self.workers)

    @property
    def seconds(self) -> float:
        """How long the slowest worker took."""
        return max(worker.seconds for worker in self.workers)

    @property
    def is_exact(self) -> bool:
        """Whether all that was done is told, and nothing else."""
        return all(each.is_exact for each in self.compared)


def measure() -> Section:
    """Flood for ten minutes."""
    with stage() as whence:
        flood = flooded(whence, SECONDS)
    return _section(flood)


def flooded(whence: Stage, seconds: float, rate: int = RATE) -> Flood:
    """Run the workers for so long, wait until all is told, and compare."""
    bare_rate = _bare(10 * rate)
    program = prepare(whence.place)
    whence.settle()
    before = whence.status()["counters"]
    with _watching(whence) as watched:
        workers = tuple(_flood(whence, program, seconds, rate))
        print("floods: waiting until all is told …", file=sys.stderr, flush=True)
        whence.settle()
    after = whence.status()["counters"]
    lost = {name: after[name]["lost"] - before[name]["lost"] for name in after}
    compared = settled(whence.sql, whence.place, workers)
    lost = {name: number for name, number in lost.items() if number}
    return Flood(bare_rate, workers, compared, lost, watched)


def _bare(rate: int) -> float:
    """Operations a second of the same workers where nobody watches."""
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        place = Path(folder)
        program = prepare(place)
        running = [
            subprocess.Popen(
                words_of(program, name, _BARE_SECONDS, rate, WORKERS),
                cwd=place,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in names(WORKERS)
        ]
        workers = [
            said(name, process.communicate()[0])
            for name, process in zip(names(WORKERS), running, strict=True)
        ]
    return sum(worker.operations / worker.seconds for worker in workers)


def _flood(whence: Stage, program: str, seconds: float, rate: int) -> Iterator[Worker]:
    running = [
        whence.scope.start(words_of(program, name, seconds, rate, WORKERS), whence.place)
        for name in names(WORKERS)
    ]
    for name, process in zip(names(WORKERS), running, strict=True):
        yield said(name, process.communicate()[0])


def names(workers: int) -> list[str]:
    """Names of the workers, which are those of their folders."""
    return [f"worker{at}" for at in range(workers)]


def prepare(place: Path, workers: int = WORKERS) -> str:
    """Compile the worker and lay out its files. Raises CalledProcessError."""
    program = str(place / "floods")
    subprocess.run(["cc", "-O2", "-o", program, _SOURCE], check=True)
    (place / "pool").mkdir()
    for number in range(POOL):
        (place / "pool" / str(number)).write_bytes(b"x")
    for number in range(100):
        (place / "dataset" / f"{number:03d}").mkdir(parents=True)
    for number in range(DATASET):
        (place / "dataset" / f"{number % 100:03d}" / str(number)).write_text(f"{number}")
    for name in names(workers):
        for folder in ("own", "made"):
            (place / name / folder).mkdir(parents=True)
    return program


def words_of(program: str, name: str, seconds: float, rate: int, workers: int) -> list[str]:
    """Return the command of one worker of several that reach a rate together."""
    return [program, name, *map(str, (seconds, rate // workers, POOL, DATASET))]


def said(name: str, output: str) -> Worker:
    """Read what a worker printed."""
    *counts, seconds = output.split()
    reads, writes, touched, made, deleted, others = map(int, counts)
    return Worker(name, reads, writes, touched, made, deleted, others, float(seconds))


# --- what is told -------------------------------------------------------------------------------


def settled(sql: Sql, place: Path, workers: Sequence[Worker]) -> tuple[Compared, ...]:
    """Compare until all agrees, or for a while: answers may be of a moment ago."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = compared(sql, place, workers)
        if all(each.is_exact for each in found) or time.monotonic() > deadline:
            return found
        time.sleep(2.0)


def compared(sql: Sql, place: Path, workers: Sequence[Worker]) -> tuple[Compared, ...]:
    """Compare every edge by its name, and calls by their sum."""
    shared = [
        _by_process(sql, "reads of the pool", f"{place}/pool/", [POOL] * len(workers), workers),
        _by_process(
            sql,
            "reads of the data set",
            f"{place}/dataset/",
            [min(worker.touched, DATASET) for worker in workers],
            workers,
        ),
    ]
    own = _own(sql, place, workers)
    kinds = (
        ("files made", "write", ".part", [worker.made for worker in workers]),
        ("renames", "rename", ".part", [worker.made for worker in workers]),
        ("deletions", "delete", "", [worker.deleted for worker in workers]),
    )
    named = [_by_name(sql, place, workers, *kind) for kind in kinds]
    return (*shared, own, *named)


def _by_process(
    sql: Sql, kind: str, below: str, pairs: Sequence[int], workers: Sequence[Worker]
) -> Compared:
    """Reads of files that all workers share: (process, path) pairs of each worker."""
    rows = sql(
        "SELECT sum(ops), count(DISTINCT path) FROM file_accesses"  # noqa: S608 -- our own words
        f" WHERE op = 'read' AND starts_with(path, '{below}') GROUP BY process_id"
    )
    calls = [worker.reads if "pool" in kind else worker.touched for worker in workers]
    told = sorted(int(paths) for _, paths in rows)
    expected = sorted(pairs)
    told += [0] * (len(expected) - len(told))
    return Compared(
        kind,
        sum(expected),
        sum(max(0, real - found) for real, found in zip(expected, told, strict=False)),
        sum(max(0, found - real) for real, found in zip(expected, told, strict=False)),
        sum(calls),
        sum(int(ops) for ops, _ in rows),
    )


def _own(sql: Sql, place: Path, workers: Sequence[Worker]) -> Compared:
    """Writes of the files that each worker has open for itself."""
    ((ops, paths),) = sql(
        "SELECT sum(ops), count(DISTINCT path) FROM file_accesses WHERE op = 'write'"  # noqa: S608 -- the same
        f" AND starts_with(path, '{place}/worker') AND contains(path, '/own/')"
    )
    real, calls = OWN * len(workers), sum(worker.writes for worker in workers)
    missing, invented = max(0, real - int(paths)), max(0, int(paths) - real)
    return Compared("writes of own files", real, missing, invented, calls, int(ops or 0))


def _by_name(
    sql: Sql,
    place: Path,
    workers: Sequence[Worker],
    kind: str,
    op: str,
    suffix: str,
    counts: Sequence[int],
) -> Compared:
    """Files that have a number: each name that is expected against each that is told."""
    missing = invented = 0
    for worker, count in zip(workers, counts, strict=True):
        folder = f"{place}/{worker.name}/made/"
        ((less, more),) = sql(
            "WITH told AS (SELECT DISTINCT path FROM file_accesses"  # noqa: S608 -- the same
            f" WHERE op = '{op}' AND starts_with(path, '{folder}')),"
            f" made AS (SELECT '{folder}' || n || '{suffix}' AS path FROM range({count}) r(n))"
            " SELECT (SELECT count(*) FROM made ANTI JOIN told USING (path)),"
            " (SELECT count(*) FROM told ANTI JOIN made USING (path))"
        )
        missing, invented = missing + int(less), invented + int(more)
    return Compared(kind, sum(counts), missing, invented)


# --- what the daemon needs ----------------------------------------------------------------------


@contextmanager
def _watching(whence: Stage) -> Iterator[Watched]:
    watched, done = Watched(), threading.Event()
    pid = whence.pids()["daemon"]
    began_s = cpu_s(pid)
    watched.kernel_bytes = kernel_bytes(pid)

    def watch() -> None:
        while not done.wait(_WATCH_S):
            watched.resident_bytes.append(resident_bytes(pid))
            watched.held_records.append(whence.status()["held_records"])
            if len(watched.resident_bytes) % _TELL_EVERY == 0:
                print(
                    f"floods: {len(watched.resident_bytes)} s, daemon"
                    f" {watched.resident_bytes[-1] / 1e6:.0f} MB,"
                    f" {watched.held_records[-1]:,} records wait",
                    file=sys.stderr,
                    flush=True,
                )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield watched
    finally:
        done.set()
        watcher.join()
        watched.cpu_s = cpu_s(pid) - began_s


def kernel_bytes(pid: int) -> int:
    """Return the memory of a process's BPF maps and rings, which is the kernel's."""
    found: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            text = entry.read_text()
            words = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            if "map_id" in words:
                found[words["map_id"]] = int(words["memlock"])
    return sum(found.values())


def _section(flood: Flood) -> Section:
    watched = flood.watched
    rows = (
        ("operations", f"{flood.operations:,} in {flood.seconds:.0f} s"),
        ("**a second**", f"**{flood.operations / flood.seconds:,.0f}**"),
        ("a second where nobody watches", f"{flood.bare_rate:,.0f}"),
        *((f"{each.kind}, edges missing, invented", _told(each)) for each in flood.compared),
        ("**edges that are missing**", f"**{sum(each.missing for each in flood.compared):,}**"),
        ("counted as lost", ", ".join(f"{k} {v:,}" for k, v in flood.lost.items()) or "nothing"),
        ("daemon CPU", f"{watched.cpu_s / flood.seconds * 100:.0f} % of a core"),
        (
            "daemon memory, median and greatest",
            f"{statistics.median(watched.resident_bytes) / 1e6:.0f} MB,"
            f" {max(watched.resident_bytes) / 1e6:.0f} MB",
        ),
        ("memory of its maps and rings in the kernel", f"{watched.kernel_bytes / 1e6:.0f} MB"),
        ("records held at most", f"{max(watched.held_records):,}"),
    )
    return Section(
        "floods",
        "a million file operations a second",
        "0 edges lost in 10 minutes on 2 cores, daemon at most 100 MB resident",
        f"`bench/floods.c`: {WORKERS} processes, together asked for {RATE:,} calls on files a"
        f" second: seven reads to one write of a byte, on {POOL} files that all share and {OWN} of"
        f" each one's own, open all the time; {WORKERS * 250:,} files a second of a data set of"
        f" {DATASET:,} are opened, read and closed, and as many are made, written, closed, renamed"
        " and, 100 files later, deleted (fewer where the rate is not reached). They count their own"
        " calls. Every edge is compared by name, calls by their sum; counts are exchanged each"
        " second meanwhile. Unwatched the same workers run for 10 s without a limit. `python -m"
        " bench.floods --seconds 30` is a short form.",
        ("what", "found"),
        rows,
    )


def _told(each: Compared) -> str:
    calls = f"; calls told {each.calls_told:,} of {each.calls:,}" if each.calls else ""
    return f"{each.missing:,} and {each.invented:,} of {each.real:,}{calls}"


def main() -> int:
    """Flood for the seconds that were asked for; 1 when an edge or a call is missing."""
    parser = argparse.ArgumentParser(prog="bench.floods", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=RATE)
    chosen = parser.parse_args()
    with stage() as whence:
        flood = flooded(whence, chosen.seconds, chosen.rate)
    print(to_markdown(_section(flood)))
    return int(not flood.is_exact)


if __name__ == "__main__":
    sys.exit(main())
