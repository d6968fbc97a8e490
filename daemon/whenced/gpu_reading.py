"""What one look at a GPU tells, whoever looked. Loads nothing of NVML."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a compute context on a GPU; pid is of the root pid namespace."""

    pid: int
    gpu: str  # UUID of the GPU, or of the MIG instance
    memory_bytes: int | None
    mps: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one GPU; None is not known."""

    busy_percent: int | None = None
    sm_percent: float | None = None  # GPM, since the look before
    tensor_percent: float | None = None
    energy_mj: int | None = None  # since the driver was loaded
    memory_used_bytes: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    sm_percent_of: dict[int, int] = field(default_factory=dict)  # by pid, mean since before


class NvmlGone(Exception):  # noqa: N818 -- says the condition
    """The driver is not there (any more): open again later."""
