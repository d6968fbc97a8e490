"""Counters of GPU time for Prometheus: sums that only grow, by GPU. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from whenced.gpu_holds import ATTACHED, HELD, ORPHANED, HoldState
from whenced.gpu_reading import Reading

_PERCENT: Final = 100
# Bounds of the histogram of hold durations, in seconds.
DURATIONS_S: Final = (0.1, 1, 10, 60, 600, 3_600, 36_000)


class GpuTotals:
    """What each GPU did since the daemon began; nanoseconds, millijoules, counts."""

    def __init__(self) -> None:
        self.time_ns: Counter[tuple[str, str]] = Counter()  # by (what, GPU)
        self.energy_mj: Counter[str] = Counter()
        self.holders: dict[str, int] = {}
        self.memory_bytes: dict[str, int | None] = {}
        self.faults: Counter[tuple[str, int]] = Counter()  # by (GPU, Xid)
        self.errors: Counter[str] = Counter()  # of NVML, by call
        self.durations: Counter[float] = Counter()  # of ended holds, by upper bound
        self.duration_sum_ns = 0
        self._energy_mj: dict[str, int] = {}

    def add(
        self, gpu: str, reading: Reading, intervals: Sequence[HoldState], elapsed_ns: int
    ) -> None:
        """Add the time since the last reading of a GPU."""
        kinds = [each.kind for each in intervals if each.gpu == gpu]
        self.time_ns["watched", gpu] += elapsed_ns
        held = HELD in kinds or ORPHANED in kinds
        for name, applies in (
            ("attached", ATTACHED in kinds or held),
            ("held", held),
            ("orphaned", ORPHANED in kinds),
        ):
            self.time_ns[name, gpu] += elapsed_ns if applies else 0
        for name, percent in (
            ("busy", reading.busy_percent),
            ("sm_active", reading.sm_percent),
            ("tensor_active", reading.tensor_percent),
        ):
            if percent is not None:
                self.time_ns[name, gpu] += round(elapsed_ns * percent / _PERCENT)
        self.holders[gpu] = len({each.process[:2] for each in intervals if _holds(each, gpu)})
        self.memory_bytes[gpu] = reading.memory_used_bytes
        if reading.energy_mj is not None:
            before = self._energy_mj.get(gpu)
            if before is not None and reading.energy_mj >= before:
                self.energy_mj[gpu] += reading.energy_mj - before
            self._energy_mj[gpu] = reading.energy_mj

    def count_ended(self, changed: Iterable[HoldState]) -> None:
        """Count the durations of holds that ended."""
        for each in changed:
            if each.end_ns is None or each.kind == ATTACHED:
                continue
            seconds = (each.end_ns - each.start_ns) / 1e9
            self.duration_sum_ns += each.end_ns - each.start_ns
            bound = next((limit for limit in DURATIONS_S if seconds <= limit), float("inf"))
            self.durations[bound] += 1


def _holds(state: HoldState, gpu: str) -> bool:
    return state.gpu == gpu and state.kind != ATTACHED
