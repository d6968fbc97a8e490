"""`python -m tests.soak.races`: files change under readers and the hasher; no digest may be wrong.

A real daemon, collector, hasher and kernel side watch tests/workloads/races.c, which overwrites,
cuts, replaces, swaps and maps files while short readers read them, and tells what each file held
at rest and what each reader got. Then every digest has to be of content that a file once held at
rest, and what a reader is told to have read has to be the bytes that it got. The one exception is
counted apart: a read is seen as it ends, so one call that began before the end of a write and ended
50 ms after it is taken for a read of what was written (docs/design/0004-capture.md).
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from blake3 import blake3
from tests.addresses import free_address
from tests.asking import Whence
from tests.scope import Scope
from tools.instance import Instance, bring_down, bring_up

SOURCE: Final = Path(__file__).resolve().parent.parent / "workloads" / "races.c"
BLOCK: Final = 2_000  # changes in one folder
_PATIENCE_S: Final = 60.0
_WORD_BYTES: Final = 8
_READERS_FOR_ONE: Final = 1_000  # of so many at most one may have been overlapped
Content = tuple[int, int]  # number that is repeated, length in bytes; (0, n > 0) is a mixture


@dataclass(slots=True)
class Found:
    """What was told of one block, beside what really was."""

    changes: int = 0
    readers: int = 0
    states: Counter[str] = field(default_factory=Counter)  # of reads
    digests: int = 0
    wrong: list[str] = field(default_factory=list)
    overlapped: list[str] = field(default_factory=list)  # reads that a write ended within

    def add(self, other: Found) -> None:
        """Add another block."""
        self.changes += other.changes
        self.readers += other.readers
        self.states += other.states
        self.digests += other.digests
        self.wrong += other.wrong
        self.overlapped += other.overlapped


@cache
def digest_of(content: Content) -> str:
    """Artifact name of a number that is repeated."""
    number, length = content
    return f"blake3:{blake3(number.to_bytes(_WORD_BYTES, 'little') * (length // 8)).hexdigest()}"


def compiled(folder: Path) -> Path:
    """Compile the workload; raises CalledProcessError with gcc's words."""
    program = folder / "races"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, SOURCE], check=True)
    return program


def race(scope: Scope, whence: Whence, program: Path, seed: int, changes: int) -> Found:
    """Run one block and compare."""
    with tempfile.TemporaryDirectory(prefix="whence-races-") as name:
        place = Path(name).resolve()
        pause_us = (0, 0, 500, 3000)[seed % 4] if changes <= BLOCK else 0
        command = [str(program), "run", str(seed), str(changes), str(2 + seed % 12), str(pause_us)]
        log = scope.run(command, place).splitlines()
        at_rest = {_content(line.split()[1:]) for line in log if line.startswith("w")}
        read = {
            int(words[1]): _content(words[3:])
            for words in (line.split() for line in log if line.startswith("r"))
        }
        told = _told(whence, place, len(read))
    return compare(at_rest, read, told, changes)


def _content(words: list[str]) -> Content:
    number, length = map(int, words)
    return (number, length)


Told = Sequence[tuple[int, str, str | None, str | None]]  # process id, op, artifact, state


def _told(whence: Whence, place: Path, readers: int) -> Told:
    """Ask until every reader is there and every version has an answer."""
    query = (
        "SELECT DISTINCT p.pid, f.op, f.artifact, f.artifact_state AS state FROM file_accesses f "  # noqa: S608 (our own words)
        f"JOIN processes p USING (process_id) WHERE starts_with(f.path, '{place}/') "
        "AND f.op IN ('read', 'write', 'truncate')"
    )
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        rows = [(row["pid"], row["op"], row["artifact"], row["state"]) for row in whence.sql(query)]
        seen = {pid for pid, op, _, _ in rows if op == "read"}
        open_answers = sum(1 for _, _, _, state in rows if state is None)
        if (len(seen) >= readers and not open_answers) or time.monotonic() > deadline:
            return rows
        time.sleep(0.3)


def compare(at_rest: set[Content], read: dict[int, Content], told: Told, changes: int) -> Found:
    """Hold what was told against what the program did. Pure."""
    found = Found(changes, len(read))
    known = {digest_of(content) for content in at_rest}
    for pid, op, artifact, state in told:
        if artifact is None or state != "verified":
            continue
        found.digests += 1
        if artifact not in known:
            found.wrong.append(f"{op} of {pid}: {artifact} is of no content at rest")
        elif op == "read" and pid in read and artifact != digest_of(read[pid]):
            found.overlapped.append(f"reader {pid} got {read[pid]}, told {artifact}")
    by_reader = {pid: state for pid, op, _, state in told if op == "read"}
    found.states.update(str(by_reader.get(pid, "missed")) for pid in read)
    return found


def main() -> int:
    """Run blocks until so many changes were made; return 1 when a digest was wrong."""
    parser = argparse.ArgumentParser(prog="tests.soak.races", description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    scope = Scope.create(f"whence-races-{os.getpid()}")
    total, began_s = Found(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="whence-soak-") as folder:
        instance = Instance(Path(folder), free_address())
        settings = instance.data_dir / "whenced.toml"
        settings.touch()
        try:
            bring_up(instance, ["--cgroup", str(scope.directory), "--config", str(settings)])
            program = compiled(Path(folder))
            while total.changes < options.changes:
                seed = options.seed + total.changes // BLOCK
                total.add(race(scope, Whence(instance), program, seed, BLOCK))
                sys.stdout.write(_line(total, time.monotonic() - began_s, options.seed) + "\n")
                sys.stdout.flush()
        finally:
            bring_down(instance)
            scope.remove()
    too_many = len(total.overlapped) * _READERS_FOR_ONE > total.readers
    return 1 if total.wrong or too_many or total.states["missed"] else 0


def _line(total: Found, seconds: float, seed: int) -> str:
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(total.states.items()))
    wrong = f"WRONG: {total.wrong[:5]}" if total.wrong else "0 wrong"
    return (
        f"{total.changes:,} changes in {seconds:,.0f} s: {total.digests:,} digests, {wrong}; "
        f"{total.readers:,} readers: {states}; {len(total.overlapped)} overlapped (seed {seed})"
    )


if __name__ == "__main__":
    sys.exit(main())
