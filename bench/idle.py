"""What the three processes cost while nothing happens: CPU share and resident memory.

Only measures. Nothing runs in the control group that is captured; the host does what it does.
"""

from __future__ import annotations

import statistics
import time

from bench.report import Section
from bench.stage import cpu_s, resident_bytes, stage

WINDOWS = 6
WINDOW_SECONDS = 10.0
_PERCENT = 100.0


def measure() -> Section:
    """Watch daemon, hasher and collector for a minute, in windows."""
    with stage() as whence:
        whence.settle()
        pids = whence.pids()
        shares: dict[str, list[float]] = {name: [] for name in pids}
        for _ in range(WINDOWS):
            before_s = {name: cpu_s(pid) for name, pid in pids.items()}
            began = time.monotonic()
            time.sleep(WINDOW_SECONDS)
            elapsed_s = time.monotonic() - began
            for name, pid in pids.items():
                shares[name].append((cpu_s(pid) - before_s[name]) / elapsed_s * _PERCENT)
        resident_mb = {name: resident_bytes(pid) / 1e6 for name, pid in pids.items()}
    return Section(
        "idle",
        "CPU and memory while nothing happens",
        "at most 1 % of a core and 100 MB resident for the daemon",
        f"{WINDOWS} windows of {WINDOW_SECONDS:.0f} s after the canary, without a question to the"
        " collector; CPU in user and kernel mode from `/proc/PID/stat`, whose unit is 10 ms."
        " Resident memory counts shared pages (the rings, libraries) in full.",
        ("process", "CPU, median", "CPU, greatest", "resident"),
        tuple(
            (
                name,
                f"{statistics.median(windows):.2f} %",
                f"{max(windows):.2f} %",
                f"{resident_mb[name]:,.0f} MB",
            )
            for name, windows in shares.items()
        ),
    )
