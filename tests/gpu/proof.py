"""`make gpuproof`: what is believed of NVIDIA's driver, tried on this machine's real GPU.

Starts an instance of its own, runs tests/gpu/cuda_jobs.py, prints a table for docs/gpu.md. Exits 2
where there is no GPU, 1 where a step fails.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
from tests.addresses import free_address
from tests.gpu import steps
from tests.scope import Scope
from tools.instance import Instance, bring_down, bring_up

from whence.client import Client
from whenced.gpu_devices import nodes_of, read_devices

JOBS = Path(__file__).with_name("cuda_jobs.py")
CONTEXTS = 200
TOLERANCE, POINTS, NAMED_S = 0.001, 0.02, 2.0


@dataclass(frozen=True, slots=True)
class Host:
    """An instance, and the control group that it captures."""

    instance: Instance
    scope: Scope
    place: Path

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT."""
        with Client(self.instance.address) as client:
            pieces = list(client.sql(query))
        names = pieces[0].columns if pieces else ()
        return [dict(zip(names, row, strict=True)) for piece in pieces for row in piece.rows]

    def job(self, *words: str) -> dict[str, int]:
        """Run one behaviour to its end and return what it says."""
        command = [sys.executable, str(JOBS), *words]
        environment = {"CUDA_MODULE_LOADING": "EAGER"}
        with self.scope.start(command, self.place, environment=environment) as process:
            output, complaints = process.communicate(timeout=120)
        if not output:
            raise RuntimeError(complaints.strip().splitlines()[-1] if complaints else "no output")
        answer: dict[str, int] = json.loads(output)
        return answer

    def holds(self, least: int, kind: str = "held") -> list[dict[str, Any]]:
        """Return ended holds once there are that many, or after half a minute."""
        query = (
            f"SELECT * FROM gpu_holds WHERE kind = '{kind}' AND end_ns IS NOT NULL "  # noqa: S608
            "ORDER BY start_ns"
        )
        deadline = time.monotonic() + 30
        while len(found := self.rows(query)) < least and time.monotonic() < deadline:
            time.sleep(0.5)
        return found


@contextmanager
def host() -> Iterator[Host]:
    """Start an instance on this machine's GPUs."""
    scope = Scope.create(f"whence-gpu-proof-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="whence-gpu-") as folder:
        settings = Path(folder) / "whenced.toml"
        settings.touch()
        instance = Instance(Path(folder) / "data", free_address())
        bring_up(instance, ["--cgroup", str(scope.directory), "--config", str(settings)])
        try:
            yield Host(instance, scope, Path(folder))
        finally:
            bring_down(instance)
            scope.remove()


def when_it_registers(on: Host) -> str:
    """Step 2: between which calls of CUDA a hold begins, and that its UUID is NVML's."""
    marks = on.job("steps")
    (hold, *_) = on.holds(1)
    offset = on.rows("SELECT start_ns FROM gpu_holds LIMIT 1") and hold["start_ns"]
    known = on.rows("SELECT count(*) AS n FROM gpu_holds WHERE gpu_model IS NOT NULL")
    names = sorted(marks, key=lambda name: marks[name])
    lasted = hold["end_ns"] - hold["start_ns"]
    span = {name: (marks[name] - marks["begin"]) / 1e9 for name in names}
    if not known[0]["n"]:
        raise RuntimeError("the UUID of the registration is none that NVML lists")
    return f"held {lasted / 1e9:.3f} s from {offset}; the program's own marks: {span}"


def short_contexts(on: Host) -> str:
    """Step 3: many contexts of 0.3 s, none missed, their total against the program's own log."""
    before = len(on.holds(0))
    true = [on.job("context") for _ in range(CONTEXTS)]
    found = on.holds(before + CONTEXTS)[before:]
    if len(found) != CONTEXTS:
        raise RuntimeError(f"{len(found)} holds of {CONTEXTS}")
    lasted = [each["end_ns"] - each["start_ns"] for each in found]
    told = [each["end"] - each["context"] for each in true]
    extra_ms = [(a - b) / 1e6 for a, b in zip(lasted, told, strict=True)]
    most = sum(each["end"] - each["begin"] for each in true)
    totals = [f"{each / 1e9:.3f} s" for each in (sum(lasted), sum(told), most)]
    between = "total {}, contexts {}, programs {}".format(*totals)
    if not sum(told) <= sum(lasted) <= most * (1 + TOLERANCE):
        raise RuntimeError(between)
    return f"{between}; longer than the context by {statistics.median(extra_ms):.1f} ms"


def duty_cycles(on: Host) -> str:
    """Step 4: busy time against the program's own, at several shares."""
    told, off = [], False
    for percent in ("0", "25", "50", "75", "100"):
        began = time.time_ns()
        true = on.job("duty", percent)
        time.sleep(12)
        (found,) = on.rows(
            "SELECT sum(busy_ns) AS busy, sum(alloc_ns) AS held FROM spend "  # noqa: S608 -- ours
            f"WHERE part = 'held' AND from_ns >= {began}"
        )
        share = None if not found["held"] else float(found["busy"] or 0) / float(found["held"])
        wanted = true["busy_ns"] / true["wall_ns"]
        told.append(f"{wanted:.3f} → {share if share is None else round(share, 3)}")
        off = off or share is None or abs(share - wanted) > POINTS
    if off:
        raise RuntimeError(", ".join(told))
    return ", ".join(told)


def orphans(on: Host) -> str:
    """Step 6: a sleeper keeps the GPU; named in time, cleared with the sleeper."""
    on.job("orphan")
    began = time.monotonic()
    query = "SELECT count(*) AS n FROM gpu_holds WHERE kind = 'orphaned'"
    while not on.rows(query)[0]["n"]:
        if time.monotonic() - began > 6:
            raise RuntimeError("the driver lets go with the process: fork alone makes no orphan")
        time.sleep(0.05)
    named_s = time.monotonic() - began
    cleared = on.holds(1, "orphaned")
    if named_s > NAMED_S or not cleared:
        raise RuntimeError(f"named after {named_s:.2f} s, cleared: {bool(cleared)}")
    return f"named after {named_s:.2f} s, cleared with the sleeper"


def monitors(on: Host) -> str:
    """Step 9: nvidia-smi beside it is attached and costs nothing."""
    steps.have_nvidia_smi()
    before = len(on.holds(0))
    on.scope.run(["nvidia-smi"], on.place)
    attached = on.holds(1, "attached")
    if len(on.holds(0)) != before:
        raise RuntimeError("nvidia-smi was taken for a holder")
    return f"{len(attached)} attached, 0 held"


# Number in gpu_spend.md 5.4, name, what is expected, and how it is tried.
STEPS: tuple[tuple[int, str, str, Callable[[Host], str]], ...] = (
    (1, "BPF programs load", "the daemon watches", steps.programs_load),
    (2, "a hold begins and ends", "registered with NVML's UUID", when_it_registers),
    (3, f"{CONTEXTS} contexts of 0.3 s", "none missed, total within 0.1 %", short_contexts),
    (4, "busy, true → told", "within 2 points", duty_cycles),
    (5, "two at 70 and 30 %", "split by a rule for several", steps.shared),
    (5, "under MPS", "told from plain sharing", steps.under_mps),
    (6, "orphan", "named within 2 s, cleared with the sleeper", orphans),
    (7, "tensor work", "ratio of proxy and truth", steps.tensor_work),
    (8, "energy", "within 5 % of summed power", steps.energy),
    (9, "nvidia-smi", "attached, costs nothing", monitors),
    (10, "pid namespace", "same run, held", steps.in_a_pid_namespace),
    (11, "throughput", "slower by less than 0.5 %", steps.slowdown),
    (12, "counters of the driver", "only told", steps.counters),
)


def verdict(step: Callable[[Host], str], on: Host) -> tuple[str, str]:
    """Try a step; return what was measured or why not, and passed, SKIP or FAILED."""
    try:
        return step(on), "passed"
    except steps.Skipped as reason:
        return str(reason), "SKIP"
    except (RuntimeError, AssertionError, ValueError, OSError, pynvml.NVMLError) as error:
        return f"{type(error).__name__}: {error}", "FAILED"
    except subprocess.SubprocessError as error:
        return str(error), "FAILED"


def main() -> int:
    """Run every step; return the exit status."""
    if not nodes_of(read_devices()):
        sys.stderr.write("gpuproof: no NVIDIA driver is loaded: run it on a machine with a GPU\n")
        return 2
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()[0]  # fmt: skip
    head = "| step | | expected | measured | verdict |\n|---|---|---|---|---|\n"
    sys.stdout.write(f"{time.strftime('%Y-%m-%d')}, {driver}\n\n{head}")
    failed = 0
    with host() as on:
        for number, name, expected, step in STEPS:
            measured, told = verdict(step, on)
            failed += told == "FAILED"
            sys.stdout.write(f"| {number} | {name} | {expected} | {measured} | {told} |\n")
            sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
