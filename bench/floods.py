"""A million file operations a second for minutes, with every edge and every call compared.

Only measures. The jobs count their own calls and name their own files; what the collector tells is
compared with that, apart from the daemon's counters.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Section, to_markdown
from bench.stage import Stage, cpu_s, resident_bytes, stage

SECONDS = 600
WORKERS = 2
RATE = 500_000  # operations a second of each worker
POOL = 500  # files that stay open, as in the program below
_WATCH_S = 1.0
# Each turn of a millisecond: reads of files that stay open, in turn, and every other turn a file
# that is made, written, closed and deleted. Prints what it did.
PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POOL 500

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int count, char **words)
{
	const char *who = words[1];
	double seconds = atof(words[2]), began, due;
	long rate = atol(words[3]), reads = 0, made = 0;
	int fds[POOL];
	char name[64], block[64] = { 0 };

	mkdir(who, 0700);
	for (int at = 0; at < POOL; at++) {
		snprintf(name, sizeof(name), "pool/%d", at);
		fds[at] = open(name, O_RDONLY);
	}
	began = due = now();
	for (long turn = 0; now() - began < seconds; turn++) {
		for (long left = rate / 1000; left; left--)
			reads += pread(fds[reads % POOL], block, 1, 0);
		if (turn % 2 == 0) {
			snprintf(name, sizeof(name), "%s/%ld", who, made++);
			int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
			write(fd, block, sizeof(block));
			close(fd);
			unlink(name);
		}
		due += 0.001;
		if (due > now())
			usleep((due - now()) * 1e6);
	}
	printf("%ld %ld %.3f\n", reads, made, now() - began);
	return 0;
}
"""


@dataclass(slots=True)
class Watched:
    """What the daemon was seen to hold and use, once a second."""

    resident_bytes: list[int] = field(default_factory=list)
    held_records: list[int] = field(default_factory=list)
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What the workers say that they did, and what the collector tells of it."""

    seconds: float
    reads: int
    made: int
    reads_told: int
    made_told: int
    read_edges: int
    lost: dict[str, int]
    watched: Watched

    @property
    def missing(self) -> int:
        """Edges that are not there: files made, and files of the pool read by each worker."""
        return self.made - self.made_told + POOL * WORKERS - self.read_edges


def measure() -> Section:
    """Flood for ten minutes."""
    with stage() as whence:
        flood = flooded(whence, SECONDS)
    return _section(flood)


def flooded(whence: Stage, seconds: float, rate: int = RATE) -> Flood:
    """Run the workers for so long, wait until all is told, and compare."""
    program = _prepare(whence.place)
    whence.settle()
    before = whence.status()["counters"]
    with _watching(whence) as watched:
        words = [str(seconds), str(rate)]
        workers = [
            whence.scope.start([program, f"worker{at}", *words], whence.place)
            for at in range(WORKERS)
        ]
        said = [worker.communicate()[0].split() for worker in workers]
        whence.settle()
    after = whence.status()["counters"]
    lost = {name: after[name]["lost"] - before[name]["lost"] for name in after}
    return Flood(
        max(float(words[2]) for words in said),
        sum(int(words[0]) for words in said),
        sum(int(words[1]) for words in said),
        *_told(whence),
        {name: number for name, number in lost.items() if number},
        watched,
    )


def _prepare(place: Path) -> str:
    (place / "flood.c").write_text(PROGRAM, encoding="ascii")
    subprocess.run(["cc", "-O2", "-w", "-o", place / "flood", place / "flood.c"], check=True)
    (place / "pool").mkdir()
    for number in range(POOL):
        (place / "pool" / str(number)).write_bytes(b"x")
    return str(place / "flood")


def _told(whence: Stage) -> tuple[int, int, int]:
    """Reads counted, files made, and (process, file) pairs that read, as the collector has them."""
    pool = f"op = 'read' AND starts_with(path, '{whence.place}/pool/')"
    made = f"op = 'write' AND starts_with(path, '{whence.place}/worker')"
    ((reads, pairs),) = whence.sql(
        f"SELECT sum(ops), count(DISTINCT (process_id, path)) FROM file_accesses WHERE {pool}"  # noqa: S608 -- our own words
    )
    ((files,),) = whence.sql(f"SELECT count(DISTINCT path) FROM file_accesses WHERE {made}")  # noqa: S608 -- the same
    return int(str(reads or 0)), int(str(files)), int(str(pairs))


@contextmanager
def _watching(whence: Stage) -> Iterator[Watched]:
    watched, done = Watched(), threading.Event()
    pid = whence.pids()["daemon"]
    began_s = cpu_s(pid)

    def watch() -> None:
        while not done.wait(_WATCH_S):
            watched.resident_bytes.append(resident_bytes(pid))
            watched.held_records.append(whence.status()["held_records"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield watched
    finally:
        done.set()
        watcher.join()
        watched.cpu_s = cpu_s(pid) - began_s


def _section(flood: Flood) -> Section:
    watched = flood.watched
    operations = flood.reads + 4 * flood.made
    rows = (
        ("operations", f"{operations:,} in {flood.seconds:.0f} s"),
        ("a second", f"{operations / flood.seconds:,.0f}"),
        ("reads counted, of those made", f"{flood.reads_told:,} of {flood.reads:,}"),
        ("files told, of those made and deleted", f"{flood.made_told:,} of {flood.made:,}"),
        ("**edges that are missing**", f"{flood.missing:,}"),
        ("counted as lost", ", ".join(f"{k} {v:,}" for k, v in flood.lost.items()) or "nothing"),
        ("daemon CPU", f"{watched.cpu_s / flood.seconds * 100:.0f} % of a core"),
        (
            "daemon memory, median and greatest",
            f"{statistics.median(watched.resident_bytes) / 1e6:.0f} MB,"
            f" {max(watched.resident_bytes) / 1e6:.0f} MB",
        ),
        ("records held at most", f"{max(watched.held_records):,}"),
    )
    return Section(
        "floods",
        "a million file operations a second",
        "0 edges lost in 10 minutes on 2 cores, memory of the daemon bounded",
        f"{WORKERS} processes, each asked for {RATE:,} reads of one byte a second over 500 open"
        " files and for 500 files a second that are made, written, closed and deleted. They count"
        " their own calls. The table of counts is exchanged each second meanwhile, so the sum of"
        " all rows shows whether a call was lost or counted twice. `python -m bench.floods"
        " --seconds 20` is a short form.",
        ("what", "found"),
        rows,
    )


def main() -> int:
    """Flood for the seconds that were asked for; 1 when an edge or a call is missing."""
    parser = argparse.ArgumentParser(prog="bench.floods", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=int, default=RATE)
    chosen = parser.parse_args()
    with stage() as whence:
        flood = flooded(whence, chosen.seconds, chosen.rate)
    print(to_markdown(_section(flood)))
    return int(flood.missing != 0 or flood.reads != flood.reads_told)


if __name__ == "__main__":
    sys.exit(main())
