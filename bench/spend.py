"""GPU holds against their own log, orphans, the ledger against a second arithmetic, NVML's cost.

Only measures. Stand-in nodes play the GPU; the fake library of tests/fakes stands behind NVML.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from subprocess import run as run_program

from bench.report import Section, quantile
from tests.addresses import free_address
from tests.fakes.nvml import compile_fake, uuid
from tests.scope import Scope
from tests.unit.gpu_times import random_timeline
from tools.instance import Instance, bring_down, bring_up

from whence.client import Client
from whence_collector.attribution import Charge, Timeline, attribute
from whence_collector.prices import charge, shares
from whence_collector.spend_report import report
from whence_collector.store import Store
from whence_proto.v1 import spend_pb2 as wire

# Process id; the boot clock before and after register, before and after close.
Marks = tuple[int, ...]
HOLDS, WORKERS = 1_000, 4
ORPHANS = 5
TIMELINES, HOLDS_EACH = 20_000, 50
LEDGER_ROWS = 1_000_000
NVML_SECONDS = 60
RATE = 12_290_000_000  # billionths of a dollar for a GPU-hour
SCALE = 60  # divisible by any number of processes that random_timeline makes

HOLDER = Path(__file__).with_name("spend_holder.c")
ORPHAN = """
import fcntl, os, time
uvm = os.open("uvm", os.O_RDWR)
try:
    fcntl.ioctl(uvm, 37, bytes(range(16)) + bytes(48))
except OSError:
    pass
if os.fork() == 0:
    time.sleep(4)
"""


@dataclass(frozen=True, slots=True)
class _Host:
    """An instance with a stand-in GPU, and where jobs run."""

    instance: Instance
    scope: Scope
    place: Path

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with Client(self.instance.address) as client:
            return [row for piece in client.sql(query) for row in piece.rows]


@contextmanager
def _host() -> Iterator[_Host]:
    scope = Scope.create(f"whence-bench-spend-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        place = Path(folder)
        os.mknod(place / "uvm", 0o20666, os.makedev(1, 8))
        (place / "whenced.toml").write_text('[gpu]\nnvml = false\nstand_ins = ["1:8 uvm"]\n')
        instance = Instance(place / "data", free_address())
        settings = str(place / "whenced.toml")
        bring_up(instance, ["--cgroup", str(scope.directory), "--config", settings])
        try:
            yield _Host(instance, scope, place)
        finally:
            bring_down(instance)
            scope.remove()


def measure() -> Section:
    """Measure all of it; one row for each figure."""
    with _host() as host:
        rows = [*_holds(host), _orphans(host)]
    rows += [*_ledger(), _nvml(), _answer()]
    return Section(
        "spend",
        "GPU holds and the ledger",
        "hold totals within 0.05 %, none of 1,000 missed; an orphan named within 2 s; the ledger"
        " equal to a second arithmetic; NVML for 8 GPUs at most 0.5 % of a core",
        f"{HOLDS:,} holds of 20 ms to 1 s by {WORKERS} C programs (nice -20) at once on a stand-in"
        " node, against their own readings of the boot clock right before and after register and"
        " close: the truth lies between the two; the orphan from the end of its process"
        " to the answer of `whence sql`;"
        f" {TIMELINES:,} random GPU lives with {HOLDS_EACH} holds each against a sweep in exact"
        f" {SCALE}ths of a nanosecond; the fake NVML reads its scenario anew at each call.",
        ("what", "figure"),
        tuple(rows),
    )


def _holds(host: _Host) -> list[tuple[str, str]]:
    program = host.place / "holder"
    run_program(["cc", "-std=gnu11", "-O1", "-Wall", "-Werror", HOLDER, "-o", program], check=True)
    each = str(HOLDS // WORKERS)
    # Ahead of everything else, so that its readings stand close to what happened between them.
    command = ["nice", "-n", "-20", str(program)]
    jobs = [host.scope.start([*command, str(seed), each], host.place) for seed in range(WORKERS)]
    true: list[Marks] = []
    for job in jobs:
        lines = job.communicate()[0].splitlines()
        true += [(job.pid, *map(int, line.split())) for line in lines]
    query = (
        "SELECT p.pid, g.end_ns - g.start_ns FROM gpu_holds g JOIN processes p USING (process_id) "
        "WHERE g.kind = 'held' AND g.end_ns IS NOT NULL ORDER BY p.pid, g.start_ns"
    )
    seen: list[tuple[int, int]] = []
    deadline = time.monotonic() + 30
    while len(seen) < HOLDS and time.monotonic() < deadline:
        time.sleep(0.5)
        seen = [(int(str(pid)), int(str(lasted))) for pid, lasted in host.rows(query)]
    return _against_their_log(sorted(true), seen)


def _against_their_log(
    true: Sequence[Marks], seen: Sequence[tuple[int, int]]
) -> list[tuple[str, str]]:
    """Compare, in order of program and begin; each true length lies between two readings."""
    if [pid for pid, *_ in true] != [pid for pid, _ in seen]:
        return [(f"holds seen of {HOLDS:,}", f"{len(seen):,}: not those that were made")]
    least = [before_close - after for _, _, after, before_close, _ in true]
    most = [after_close - before for _, before, _, _, after_close in true]
    lasted = [each for _, each in seen]
    total, low, high = sum(lasted), sum(least), sum(most)
    outside_ms = [
        max(a - each, each - b, 0) / 1e6 for each, a, b in zip(lasted, least, most, strict=True)
    ]
    worst = max((total / low - 1) * 100, (1 - total / high) * 100)
    return [
        (f"holds seen of {HOLDS:,}, {total / 1e9:,.1f} s", f"{len(seen):,}"),
        ("their total above the least, below the most that the programs' clocks allow",
         f"{(total / low - 1) * 100:+.4f} %, {(1 - total / high) * 100:+.4f} %"),
        ("so their total is off by at most", f"{worst:.4f} %"),
        ("one hold outside its least and most, median, greatest",
         f"{statistics.median(outside_ms):.3f} ms, {max(outside_ms):.3f} ms"),
    ]  # fmt: skip


def _orphans(host: _Host) -> tuple[str, str]:
    (host.place / "orphan.py").write_text(ORPHAN)
    query = "SELECT count(*) FROM gpu_holds WHERE kind = 'orphaned'"
    waits_s = []
    for number in range(1, ORPHANS + 1):
        with host.scope.start([sys.executable, "-S", "orphan.py"], host.place) as job:
            job.wait()
            began = time.monotonic()
            while host.rows(query)[0][0] != number and time.monotonic() < began + 10:
                time.sleep(0.02)
            waits_s.append(time.monotonic() - began)
    text = f"{statistics.median(waits_s):.2f} s ({min(waits_s):.2f} to {max(waits_s):.2f})"
    return "an orphan is named after", text


def _ledger() -> list[tuple[str, str]]:
    chance = Random(20261124)  # noqa: S311 -- chance, not secrets
    unequal = holds = charges = 0
    began = time.process_time()
    own_s = 0.0
    for _ in range(TIMELINES):
        timeline = random_timeline(chance, HOLDS_EACH, 86_400 * 10**9)
        begin, end = 0, 86_400 * 10**9
        mark = time.process_time()
        made = attribute(timeline, begin, end)
        own_s += time.process_time() - mark
        holds += len(timeline.holds)
        charges += len(made)
        unequal += not _agrees(timeline, made, begin, end)
    total_s = time.process_time() - began
    return [
        (f"of {holds:,} holds in {TIMELINES:,} lives ({charges:,} charges), lives that differ",
         f"{unequal}"),
        ("attribution, CPU for 1,000 holds", f"{own_s / holds * 1e6:.1f} ms of {total_s:.0f} s"),
    ]  # fmt: skip


def _agrees(timeline: Timeline, made: list[Charge], begin: int, end: int) -> bool:
    """Compare with a sweep over sorted edges, in whole SCALE-ths of a nanosecond and money."""
    exact = _swept(timeline, begin, end)
    given: dict[str, int] = {}
    micro_usd = 0
    for each in made:
        parts = [part.alloc_ns for part in each.parts]
        micro_usd += sum(shares(charge(RATE, each.from_ns, each.until_ns), parts))
        for part in each.parts:
            name = part.part if part.process_id is None else str(part.process_id)
            given[name] = given.get(name, 0) + part.alloc_ns * SCALE
    rounding = SCALE * len(made)
    near = all(abs(given.get(name, 0) - exact[name]) < rounding for name in exact)
    whole = sum(given.values()) == (end - begin) * SCALE == sum(exact.values())
    bill = end * RATE // (3_600 * 10**12) - begin * RATE // (3_600 * 10**12)
    return given.keys() == exact.keys() and near and whole and micro_usd == bill


def _swept(timeline: Timeline, begin: int, end: int) -> dict[str, int]:
    edges: list[tuple[int, int, str]] = []
    for each in timeline.watched:
        edges += [(each.from_ns, 1, "watched"), (each.until_ns, -1, "watched")]
    for hold in timeline.holds:
        edges.append((hold.start_ns, 1, str(hold.process_id)))
        edges.append((end if hold.end_ns is None else hold.end_ns, -1, str(hold.process_id)))
    live: dict[str, int] = {}
    totals: dict[str, int] = {}
    at = begin
    for time_ns, step, name in [*sorted(edges), (end, 0, "")]:
        until = min(max(time_ns, begin), end)
        if until > at:
            holders = [who for who, count in live.items() if count and who != "watched"]
            names = (holders or ["idle"]) if live.get("watched") else ["unattributed"]
            for who in names:
                totals[who] = totals.get(who, 0) + (until - at) * SCALE // len(names)
            at = until
        live[name] = live.get(name, 0) + step
    return totals


READER = """
import ctypes, sys, time
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
from whenced.nvml import Nvml
nvml = Nvml()
gpus = [gpu.uuid for gpu in nvml.gpus()]
for gpu in gpus: nvml.read(gpu)
before = time.process_time()
for _ in range(int(sys.argv[2])):
    for gpu in gpus: nvml.read(gpu)
    nvml.faults()
print(time.process_time() - before)
"""


def _nvml() -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        library = compile_fake(Path(folder))
        scene = Path(folder) / "scene"
        lines = [f"gpu {uuid(n)} {n} 81559 NVIDIA H100 80GB HBM3" for n in range(8)]
        lines += [f"process {n} {1000 + n} 512" for n in range(8)]
        lines += [f"set {n} {what} 50" for n in range(8) for what in ("util", "energy", "gpm")]
        scene.write_text("\n".join(lines))
        done = run_program(
            [sys.executable, "-c", READER, str(library), str(NVML_SECONDS)],
            env={**os.environ, "WHENCE_FAKE_NVML": str(scene)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    share = float(done.stdout) / NVML_SECONDS * 100
    return "NVML once a second for 8 GPUs, of a core", f"{share:.2f} %"


def _answer() -> tuple[str, str]:
    """How long a question takes over a month of minutes of 23 GPUs."""
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        store = Store(Path(folder) / "whence.duckdb")
        store.write(
            lambda writer: writer.execute(
                "INSERT INTO spend_ledger SELECT i, 'charge', 1, 'GPU-' || i % 23, "
                "i // 23 * 60000000000, (i // 23 + 1) * 60000000000, 'held', i % 5000 + 1, "
                "60000000000, 30000000000, 204833, 204833, 1, NULL, 'exclusive/1', NULL, 0 "
                "FROM range(?) t(i)",
                (LEDGER_ROWS,),
            )
        ).result()
        store.write(lambda writer: writer.execute("INSERT INTO host VALUES (1, 'h', '')")).result()
        waits_s = []
        for _ in range(5):
            with store.cursor() as reader:
                began = time.perf_counter()
                report(reader, wire.ReportSpendRequest(by="day"))
                waits_s.append(time.perf_counter() - began)
        store.close()
    text = f"{statistics.median(waits_s):.2f} s, at most {quantile(waits_s, 1.0):.2f} s"
    return f"`whence spend` over {LEDGER_ROWS:,} ledger rows", text
