"""Steps of `make gpuproof` beside plain holds: rights, sharing, energy, namespaces, slowdown.

Each returns what was measured; raises RuntimeError where it is not what was expected and Skipped
where this machine lacks what the step needs.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pynvml

if TYPE_CHECKING:
    from tests.gpu.proof import Host

JOBS = Path(__file__).with_name("cuda_jobs.py")
ENVIRONMENT = {"CUDA_MODULE_LOADING": "EAGER"}
SHARED_PERCENT = (70, 30)
ENERGY_SECONDS, ENERGY_TOLERANCE = 20, 0.05
PAIRS = 5


class Skipped(RuntimeError):  # noqa: N818 -- no error
    """Raised where this machine lacks what a step needs; the text says what."""


def programs_load(on: Host) -> str:
    """Step 1: the kernel takes the daemon's programs, those for GPUs too."""
    health = on.rows("SELECT host FROM hosts")
    kinds = {
        word: Path(f"/sys/kernel/tracing/events/{word}").is_dir()
        for word in ("raw_syscalls", "sched", "syscalls", "nvidia")
    }
    if not health:
        raise RuntimeError("no daemon reported: its log tells why")
    return f"the daemon watches; trace events: {kinds}"


def shared(on: Host) -> str:
    """Step 5: two programs at 70 and 30 %; the rule's name and how it split."""
    began = time.time_ns()
    command = [sys.executable, str(JOBS), "duty"]
    jobs = [
        on.scope.start([*command, str(percent)], on.place, environment=ENVIRONMENT)
        for percent in SHARED_PERCENT
    ]
    for job in jobs:
        _, complaints = job.communicate(timeout=120)
        if job.returncode:
            raise RuntimeError(complaints.strip().splitlines()[-1])
    time.sleep(12)
    found = on.rows(
        "SELECT method, process_id, sum(alloc_ns) AS alloc_ns FROM spend WHERE part = 'held' "  # noqa: S608 -- ours
        f"AND from_ns >= {began} GROUP BY ALL ORDER BY 3 DESC"
    )
    methods = {str(row["method"]) for row in found}
    if not any(not method.startswith("exclusive") for method in methods):
        raise RuntimeError(f"two holders, but the methods are {sorted(methods)}")
    split = [f"{float(row['alloc_ns']) / 1e9:.1f} s by {row['method']}" for row in found]
    return "; ".join(split)


def under_mps(on: Host) -> str:
    """Step 5, second half: MPS is told from plain sharing; only looked at, never started."""
    del on
    handle = _first_gpu()
    if not pynvml.nvmlDeviceGetMPSComputeRunningProcesses(handle):
        raise Skipped("needs a running nvidia-cuda-mps-control with clients")
    return "clients of MPS are listed as such"


def energy(on: Host) -> str:
    """Step 8: the energy counter against power read every 100 ms while the GPU works."""
    handle = _first_gpu()
    try:
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise Skipped(f"needs the energy counter: {error}") from None
    command = [sys.executable, str(JOBS), "duty", "100"]
    watts: list[float] = []
    began = time.monotonic()
    with on.scope.start(command, on.place, environment=ENVIRONMENT) as job:
        while job.poll() is None and time.monotonic() - began < ENERGY_SECONDS:
            watts.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            time.sleep(0.1)
        lasted_s = time.monotonic() - began
        counted_j = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before) / 1000
        job.communicate(timeout=60)
    summed_j = statistics.fmean(watts) * lasted_s
    share = counted_j / summed_j - 1
    if abs(share) > ENERGY_TOLERANCE:
        raise RuntimeError(f"{counted_j:.0f} J against {summed_j:.0f} J: {share:+.1%}")
    return f"{counted_j:.0f} J against {summed_j:.0f} J: {share:+.1%}"


def in_a_pid_namespace(on: Host) -> str:
    """Step 10: a job that is process 1 of its own namespace is held by its run all the same."""
    before = len(on.holds(0))
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, str(JOBS), "context"]
    with on.scope.start(words, on.place, environment=ENVIRONMENT) as job:
        output, complaints = job.communicate(timeout=60)
    if job.returncode:
        raise RuntimeError(complaints.strip().splitlines()[-1])
    told: dict[str, int] = json.loads(output)
    found = on.holds(before + 1)[before:]
    if len(found) != 1 or not found[0]["run_id"]:
        raise RuntimeError(f"{len(found)} holds, of runs {[row['run_id'] for row in found]}")
    held_s = (found[0]["end_ns"] - found[0]["start_ns"]) / 1e9
    return f"held {held_s:.3f} s (context {(told['end'] - told['context']) / 1e9:.3f} s) by its run"


def slowdown(on: Host) -> str:
    """Step 11: kernels a second inside the captured group and outside it, interleaved."""
    inside, outside = [], []
    for _ in range(PAIRS):
        inside.append(on.job("throughput")["kernels"])
        done = subprocess.run(
            [sys.executable, str(JOBS), "throughput"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        outside.append(json.loads(done.stdout)["kernels"])
    slower = [1 - a / b for a, b in zip(inside, outside, strict=True)]
    middle = statistics.median(slower)
    text = f"slower by {middle:+.2%} ({min(slower):+.2%} to {max(slower):+.2%})"
    if middle >= 0.005:
        raise RuntimeError(text)
    return text


def tensor_work(on: Host) -> str:
    """Step 7: tensor activity against known FLOPs: needs a matrix product of known size."""
    del on
    raise Skipped("needs cuBLAS and a bf16 product of known FLOPs, which these jobs do without")


def counters(on: Host) -> str:
    """Step 12: which of the GPM cycle counters this driver gives, and accounting mode."""
    del on
    handle = _first_gpu()
    told = {
        "GPM": _answer(lambda: bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)),
        "accounting mode": _answer(lambda: pynvml.nvmlDeviceGetAccountingMode(handle)),
        "CUDA (GPM cycle counters from 13020)": _answer(pynvml.nvmlSystemGetCudaDriverVersion),
    }
    return json.dumps(told)


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except pynvml.NVMLError as error:
        return str(error)


def have_nvidia_smi() -> None:
    """Raise Skipped where nvidia-smi is not installed."""
    if shutil.which("nvidia-smi") is None:
        raise Skipped("needs nvidia-smi")


def _first_gpu() -> Any:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(0)
