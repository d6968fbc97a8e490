"""`python -m bench.touches [--kernel]`: CPU time of the daemon for each first touch of a file.

Without a kernel it replays made-up records of a build through the daemon's own parts; with one it
builds a small C program under a daemon that captures only that. Decides nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.stage import Stage, cpu_s, stage

from whenced.batching import BatchBuilder, Outbox
from whenced.event import events
from whenced.hash_jobs import HashJobs
from whenced.hash_messages import HashReply
from whenced.hash_open import fstat_probe
from whenced.observer import Observer
from whenced.processes import Processes
from whenced.record import RECORD, USE, USE_KEY, Flag, Kind, Part, Rows
from whenced.resolve import Resolver
from whenced.text import TextStore
from whenced.versions import Versions

PROCESSES = 560
LIBRARIES = 12
ROUNDS = 7
DRAIN_PROCESSES = 8  # whose records one drain takes
SOURCES = 60
_DEVICE = 8 << 20 | 1
_OURS = 4026531840
_PROGRAM_INODE = 1_000
_INPUT_INODE = 100_000
_OUTPUT_INODE = 200_000
_EPOCH = 1 << 32
_SECOND_NS = 1_000_000_000

Text = tuple[int, int, int, int, bytes]

_MAKEFILE = """\
objects := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
\tcc -o $@ $^
"""
_FLOOD = """
for number in range(12_000):
    with open(f"flood/{number:05d}", "w") as out:
        out.write(f"{number}\\n" * 20)
"""


@dataclass(frozen=True, slots=True)
class Drain:
    """What one look at the rings finds, and the rows of the aggregate table after it."""

    rows: Rows
    texts: list[Text]
    keys: Rows
    uses: Rows


class NoNames:
    """A host without users, control groups and processes."""

    def user(self, uid: int) -> str | None:
        """Name nobody."""
        return "root"

    def cgroup(self, cgroup_id: int) -> str | None:
        """Name nothing."""
        return "/bench"

    def arguments(self, tgid: int) -> tuple[bytes, ...]:
        """Know nothing."""
        return ()

    def environment(self, tgid: int) -> bytes:
        """Know nothing."""
        return b""


class Build:
    """Records of a build: each process reads and maps libraries, reads a source, writes one."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, dict[str, int]]] = []
        self._texts: list[Text] = []
        self._uses: list[tuple[int, ...]] = []
        self._at_ns = 10 * _SECOND_NS

    def drains(self) -> Iterator[Drain]:
        """Give the drains of the whole build."""
        for number in range(PROCESSES):
            self._process(number)
            if number % DRAIN_PROCESSES == DRAIN_PROCESSES - 1:
                yield self._drained()

    def _process(self, number: int) -> None:
        who = {"process_tgid": 5_000 + number, "process_start_ns": 7_000 + number}
        image = who | {"process_exec_id": 2}
        parent = {"other_tgid": 4_999, "other_start_ns": 6_999, "other_exec_id": 1}
        self._add(Kind.FORK, None, 0, who | parent | {"process_exec_id": 1})
        program = f"/usr/lib/gcc/x86_64-linux-gnu/12/program{number % 5}"
        self._add(Kind.EXEC, program, _PROGRAM_INODE + number % 5, image | parent)
        for library in range(LIBRARIES):
            path = f"/usr/lib/x86_64-linux-gnu/libsomething{library}.so.{library}"
            kind = Kind.MAP if library % 2 else Kind.READ
            self._add(kind, path, 1 + library, image)
        source = f"/home/alice/work/project/source/file{number}.c"
        self._add(Kind.READ, source, _INPUT_INODE + number, image)
        output = {"version": _EPOCH, "flags": Flag.CREATED}
        made = f"/home/alice/work/project/build/file{number}.o"
        self._add(Kind.OPEN_WRITE, made, _OUTPUT_INODE + number, image | output)
        closed = image | {"version": _EPOCH + 5}
        self._add(Kind.CLOSE_WRITE, None, _OUTPUT_INODE + number, closed)
        self._add(Kind.EXIT, None, 0, image)

    def _add(self, kind: Kind, path: str | None, inode: int, fields: dict[str, int]) -> None:
        self._at_ns += 10_000
        values = fields | {
            "at_ns": self._at_ns, "kind": kind, "file_inode": inode, "file_device": _DEVICE,
            "file_generation": 1, "mount_ns": _OURS, "size_bytes": 1_000, "mtime_ns": 1_000_000,
        }  # fmt: skip
        if path is not None:
            values["text"] = self._at_ns
            raw = b"".join(name.encode() + b"\0" for name in reversed(path.split("/")[1:]))
            self._texts.append((self._at_ns, Part.PATH, 0, 0, raw))
        if kind == Kind.EXEC:
            self._texts.append((self._at_ns, Part.ARGS, 0, 0, b"cc1\0-O2\0-o\0file.o\0"))
            self._texts.append((self._at_ns, Part.CWD, 0, 0, b"project\0work\0alice\0home\0"))
        self._rows.append((kind, values))
        if kind in (Kind.READ, Kind.OPEN_WRITE):
            named = [fields[f"process_{name}"] for name in ("start_ns", "tgid", "exec_id")]
            self._uses.append((*named, inode, _DEVICE, 1))

    def _drained(self) -> Drain:
        rows = np.zeros(len(self._rows), dtype=RECORD)
        for row, (_, values) in zip(rows, self._rows, strict=True):
            for name, value in values.items():
                row[name] = value
        keys = np.array(self._uses, dtype=USE_KEY)
        uses = np.zeros(len(keys), dtype=USE)
        uses["read_ops"], uses["read_bytes"] = 3, 4_096
        found = Drain(rows, self._texts, keys, uses)
        self._rows, self._texts, self._uses = [], [], []
        return found


class Bin:
    """A spool that keeps nothing."""

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether a batch would be taken."""
        return True

    def refuse(self, rows: int) -> None:
        """Take note of nothing."""

    def unwritten(self) -> list[tuple[int, bytes, int]]:
        """Give what is nowhere else."""
        return []

    def put(self, number: int, payload: bytes, rows: int) -> bool:
        """Take a batch."""
        return True

    def take_lost(self) -> dict[str, int]:
        """Say that none was lost."""
        return {}


class Replay:
    """The daemon's parts between the rings and the spool, with times by part."""

    def __init__(self) -> None:
        self.texts = TextStore()
        self.versions = Versions(1, HashJobs(_OURS))
        resolver = Resolver(fstat_probe, mounts_of=lambda _: b"")
        self.observer = Observer(Processes(NoNames()), self.versions, resolver)
        self.builder = BatchBuilder("host", "boot", "epoch")
        self.outbox = Outbox(self.builder, Bin(), 0)
        self.spent_s: dict[str, float] = {}
        self.touches = 0

    def take(self, drain: Drain) -> None:
        """Do what the capture loop does with one drain."""
        began = self._spent("", time.thread_time())
        self.texts.add(drain.texts)
        began = self._spent("texts", began)
        self.observer.handle(events(drain.rows), self.texts)
        self.texts.forget_unclaimed()
        began = self._spent("observer", began)
        now_ns = int(drain.rows["at_ns"][-1])
        self.versions.tick(now_ns + _SECOND_NS)
        requests, self.versions.jobs.requests = self.versions.jobs.requests, []
        for request in requests:
            found = max(0, request.version)
            reply = HashReply(request.ticket, "verified", bytes(32), b"", 1_000, found)
            self.observer.on_reply(reply, now_ns)
        self.observer.code_requests.clear()
        began = self._spent("hash jobs", began)
        self.observer.handle_uses(drain.keys, drain.uses, now_ns)
        began = self._spent("aggregates", began)
        self.builder.extend(self.observer.take_rows())
        self.outbox.flush(now_ns, 0)
        self._spent("batches", began)
        named = drain.rows["text"] != 0
        self.touches += int(named.sum())

    def _spent(self, part: str, began: float) -> float:
        now = time.thread_time()
        if part:
            self.spent_s[part] = self.spent_s.get(part, 0.0) + now - began
        return now


def replay() -> None:
    """Print the microseconds of a touch by part: of the best round, as others use the cores too."""
    drains = list(Build().drains())
    best: Replay | None = None
    for _ in range(ROUNDS):
        round_ = Replay()
        for drain in drains:
            round_.take(drain)
        if best is None or sum(round_.spent_s.values()) < sum(best.spent_s.values()):
            best = round_
    if best is None:
        return
    for part, seconds in (best.spent_s | {"all": sum(best.spent_s.values())}).items():
        print(f"{part:12} {seconds / best.touches * 1e6:6.2f} us per touch")
    print(f"{best.touches:,} touches of {PROCESSES} processes, the best of {ROUNDS} rounds")


def kernel() -> None:
    """Print the CPU seconds of daemon and hasher for a build and for a flood of files."""
    with stage() as whence:
        _prepare(whence.place)
        whence.settle()
        for name, command in (
            ("make -j2 of 60 files", ["make", "-s", "-j2", "-C", "sources"]),
            ("the same again", ["make", "-s", "-j2", "-C", "sources", "-B"]),
            ("12,000 files written", ["python3", "-S", "flood.py"]),
        ):
            _measured(whence, name, command)


def _measured(whence: Stage, name: str, command: list[str]) -> None:
    pids = whence.pids()
    pids.pop("collector")
    before_s = {who: cpu_s(pid) for who, pid in pids.items()}
    touched = whence.status()["counters"]["touch"]["attempted"]
    elapsed_s = whence.run(command)
    whence.settle()
    counters = whence.status()["counters"]
    lost = {each: numbers["lost"] for each, numbers in counters.items() if numbers["lost"]}
    spent = ", ".join(f"{who} {cpu_s(pid) - before_s[who]:.2f} s" for who, pid in pids.items())
    touches = counters["touch"]["attempted"] - touched
    print(f"{name}: {elapsed_s:.2f} s, {touches:,} touches, CPU: {spent}; lost: {lost or 'none'}")


def _prepare(place: Path) -> None:
    sources = place / "sources"
    sources.mkdir()
    (place / "flood").mkdir()
    (place / "flood.py").write_text(_FLOOD, encoding="ascii")
    (sources / "Makefile").write_text(_MAKEFILE, encoding="ascii")
    for number in range(SOURCES):
        body = f"int part{number}(void) {{ return {number}; }}\n"
        (sources / f"part{number}.c").write_text("#include <stdio.h>\n" + body, encoding="ascii")
    (sources / "main.c").write_text("int main(void) { return 0; }\n", encoding="ascii")


def main() -> int:
    """Measure what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.touches", description=__doc__)
    parser.add_argument("--kernel", action="store_true", help="capture a real build (root)")
    kernel() if parser.parse_args().kernel else replay()
    return 0


if __name__ == "__main__":
    sys.exit(main())
