"""Readings, one a second, to slices of time: what each GPU did, and what each process had of it.

Pure. Slices of one GPU follow each other without gap; what is not known of a part of a slice is not
known of the slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from whenced.gpu_reading import Reading
from whenced.gpu_record import Holder
from whenced.rows import GpuSliceRow

_PERCENT: Final = 100
_PPM_OF_PERCENT: Final = 10_000


@dataclass(frozen=True, slots=True)
class ShareState:
    """What a process had of a GPU in a slice."""

    gpu: str
    process: Holder
    from_ns: int
    until_ns: int
    sm_ppm: int | None
    memory_bytes: int | None
    mps: bool


@dataclass(slots=True)
class _Sum:
    """A sum of which every part has to be known."""

    total: float = 0
    known: bool = True

    def add(self, value: float | None) -> None:
        if value is None:
            self.known = False
        else:
            self.total += value

    def whole(self) -> int | None:
        return round(self.total) if self.known else None


@dataclass(slots=True)
class _Use:
    """What one process had so far."""

    work: list[int] = field(default_factory=list)
    memory_bytes: int | None = None
    mps: bool = False


class SliceMaker:
    """The slice of one GPU that is being filled."""

    def __init__(self, gpu: str, from_ns: int) -> None:
        self.gpu = gpu
        self.from_ns = from_ns
        self._read_ns = from_ns
        self._energy_mj: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._busy, self._sm, self._tensor = _Sum(), _Sum(), _Sum()
        self._memory_bytes: int | None = None
        self._energy = _Sum()
        self._uses: dict[tuple[str, int], _Use] = {}

    def add(self, reading: Reading, now_ns: int) -> None:
        """Take a reading: it stands for the time since the one before."""
        elapsed_ns = now_ns - self._read_ns
        self._read_ns = now_ns
        for total, percent in (
            (self._busy, reading.busy_percent),
            (self._sm, reading.sm_percent),
            (self._tensor, reading.tensor_percent),
        ):
            total.add(None if percent is None else elapsed_ns * percent / _PERCENT)
        self._memory_bytes = reading.memory_used_bytes
        self._add_energy(reading.energy_mj)
        for each in reading.processes or ():
            use = self._uses.setdefault((each.gpu, each.pid), _Use())
            use.memory_bytes, use.mps = each.memory_bytes, each.mps
            if (percent := reading.sm_percent_of.get(each.pid)) is not None:
                use.work.append(percent)

    def _add_energy(self, counter_mj: int | None) -> None:
        before, self._energy_mj = self._energy_mj, counter_mj
        if counter_mj is None or before is None or counter_mj < before:
            # Not read, read for the first time, or counted from a driver that was loaded anew.
            self._energy.add(None)
        else:
            self._energy.add(counter_mj - before)

    def close(
        self, now_ns: int, holder_of: Callable[[int], Holder | None]
    ) -> tuple[GpuSliceRow, list[ShareState]]:
        """End the slice and begin the next; holder_of names the process behind a pid."""
        row = GpuSliceRow(
            self.gpu,
            self.from_ns,
            now_ns,
            self._busy.whole(),
            self._sm.whole(),
            self._tensor.whole(),
            self._energy.whole(),
            self._memory_bytes,
        )
        shares = []
        for (gpu, pid), use in self._uses.items():
            if (process := holder_of(pid)) is None:
                continue
            ppm = sum(use.work) * _PPM_OF_PERCENT // len(use.work) if use.work else None
            shares.append(
                ShareState(gpu, process, self.from_ns, now_ns, ppm, use.memory_bytes, use.mps)
            )
        self.from_ns = now_ns
        self._reset()
        return row, shares
