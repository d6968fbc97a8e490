"""From the exit of a process to the whole answer about the file that it wrote.

Only measures. Each job reads one new file and writes one with the same and some more bytes.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path

import blake3
from bench.report import Section, quantile, size_text
from bench.stage import Stage, is_answered, stage

from whence.client import Client

SIZES_BYTES = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 20 << 20, 95 << 20)
ROUNDS = 12
_ASK_EVERY_S = 0.01
_PATIENCE_S = 60.0


def measure() -> Section:
    """Run one job of each size in each round, in random order; ask until it is answered."""
    waits_s: dict[int, list[float]] = {size: [] for size in SIZES_BYTES}
    with stage() as whence, whence.client() as client:
        for round_number in range(ROUNDS):
            for size in random.sample(SIZES_BYTES, len(SIZES_BYTES)):
                waits_s[size].append(_one_job(whence, client, size, f"{round_number}-{size}"))
    rows = [(size_text(size), *_figures(waits)) for size, waits in waits_s.items()]
    everything = [wait for waits in waits_s.values() for wait in waits]
    return Section(
        "latency",
        "from the exit of a process to the answer",
        "2 s at p99, for files under 100 MB",
        f"{len(everything)} jobs, one after the other, each `cat raw tail > made` in a shell. The"
        " time runs from the exit of the shell to the first answer to *Find(digest of made)* that"
        f" names the ended run and the digest of its input; asked every {_ASK_EVERY_S * 1000:.0f}"
        " ms on one open connection. The digest is worked out before the time runs.",
        ("size", "jobs", "p50", "p99", "greatest"),
        (*rows, ("all", *_figures(everything))),
    )


def _figures(waits_s: list[float]) -> tuple[str, ...]:
    figures = (statistics.median(waits_s), quantile(waits_s, 0.99), max(waits_s))
    return str(len(waits_s)), *(f"{figure * 1000:,.0f} ms" for figure in figures)


def _one_job(whence: Stage, client: Client, size_bytes: int, name: str) -> float:
    raw, tail, made = (whence.place / f"{name}.{kind}" for kind in ("raw", "tail", "made"))
    content = os.urandom(size_bytes)
    raw.write_bytes(content)
    tail.write_bytes(b"tail\n")
    digest = f"blake3:{blake3.blake3(content + tail.read_bytes()).hexdigest()}"
    whence.run(["sh", "-c", f"cat {raw.name} {tail.name} > {made.name}"])
    ended_s = time.monotonic()
    while not is_answered(client, digest):
        if time.monotonic() > ended_s + _PATIENCE_S:
            raise SystemExit(f"{made} was not answered for {_PATIENCE_S:.0f} s: see the logs")
        time.sleep(_ASK_EVERY_S)
    waited_s = time.monotonic() - ended_s
    _remove(raw, tail, made)
    return waited_s


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()
