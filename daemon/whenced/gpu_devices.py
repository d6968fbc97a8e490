"""Which device numbers are GPUs on this host, and which GPU stands behind each.

Pure but for reading /proc/devices. Minor number, NVML index, PCI address and UUID are four
different names of a GPU; they are mapped here and never taken for each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from whenced.gpu_record import GpuRole

# kernel-open/common/inc/nv-chardev-numbers.h: minors above are the control nodes.
NVIDIA_MAJOR: Final = 195
LAST_GPU_MINOR: Final = 247
_MINOR_BITS: Final = 20
_STAND_IN: Final = re.compile(r"(\d+):(\d+) (?:uvm|gpu (\S+)(?: (.+))?)")


@dataclass(frozen=True, slots=True)
class Node:
    """A range of device numbers of one role."""

    major: int
    first_minor: int
    last_minor: int
    role: GpuRole


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance; None is not known. The UUID is its identity."""

    uuid: str
    model: str | None = None
    minor: int | None = None  # of /dev/nvidiaN
    nvml_index: int | None = None
    pci: str | None = None
    driver: str | None = None
    memory_bytes: int | None = None
    mig_parent: str | None = None  # UUID of the GPU that it is a part of
    compute_slices: int | None = None  # of 7
    memory_slices: int | None = None  # of 8
    device: int | None = None  # kernel device number of its node


@dataclass(frozen=True, slots=True)
class StandIn:
    """A device node that plays a GPU or the UVM node where there is none."""

    major: int
    minor: int
    uuid: str | None  # None: the UVM node
    model: str | None = None


def parse_stand_in(text: str) -> StandIn:
    """Read "MAJOR:MINOR uvm" or "MAJOR:MINOR gpu UUID MODEL". Raises ValueError."""
    match = _STAND_IN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return StandIn(int(match[1]), int(match[2]), match[3], match[4])


def nodes_of(devices_text: str, stand_ins: Iterable[StandIn] = ()) -> list[Node]:
    """Return the ranges that /proc/devices and the stand-ins name; empty where no GPU is.

    The major of nvidia-uvm is given out at load time: it is looked up, never assumed.
    """
    majors = _character_majors(devices_text)
    found = []
    if NVIDIA_MAJOR in (majors.get("nvidia"), majors.get("nvidia-frontend")):
        found.append(Node(NVIDIA_MAJOR, 0, LAST_GPU_MINOR, GpuRole.DEVICE))
    if "nvidia-uvm" in majors:
        found.append(Node(majors["nvidia-uvm"], 0, 0, GpuRole.UVM))
    for each in stand_ins:
        role = GpuRole.UVM if each.uuid is None else GpuRole.DEVICE
        found.append(Node(each.major, each.minor, each.minor, role))
    return found


def read_devices(root: Path = Path("/proc")) -> str:
    """Text of /proc/devices; empty where it cannot be read."""
    try:
        return (root / "devices").read_text(encoding="ascii")
    except OSError:
        return ""


def device_number(major: int, minor: int) -> int:
    """Return the kernel's own device number (include/linux/kdev_t.h MKDEV)."""
    return major << _MINOR_BITS | minor


def stand_in_gpus(stand_ins: Iterable[StandIn]) -> list[Gpu]:
    """Return the GPUs that stand-ins play."""
    return [
        Gpu(each.uuid, each.model, each.minor, device=device_number(each.major, each.minor))
        for each in stand_ins
        if each.uuid is not None
    ]


def by_device(gpus: Iterable[Gpu]) -> dict[int, str]:
    """Return kernel device number -> UUID, for those whose node is known."""
    return {
        device: gpu.uuid
        for gpu in gpus
        if gpu.mig_parent is None and (device := _device_of(gpu)) is not None
    }


def _device_of(gpu: Gpu) -> int | None:
    if gpu.device is not None:
        return gpu.device
    return None if gpu.minor is None else device_number(NVIDIA_MAJOR, gpu.minor)


def _character_majors(text: str) -> dict[str, int]:
    majors: dict[str, int] = {}
    for line in text.partition("Block devices:")[0].splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdigit():
            majors[name.strip()] = int(number)
    return majors
