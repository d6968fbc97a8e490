"""The kernel's GPU records as numpy types. Twin of bpf/gpu.h, as record.py is of record.h."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from whenced.record import Rows

NODES: Final = 16

GPU_RECORD: Final = np.dtype(
    [
        ("at_ns", "<u8"),
        ("file", "<u8"),
        ("since_ns", "<u8"),
        ("uncertainty_ns", "<u8"),
        ("process_start_ns", "<u8"),
        ("process_tgid", "<u4"),
        ("process_exec_id", "<u4"),
        ("uuid", "u1", (16,)),
        ("device", "<u4"),
        ("request", "<u4"),
        ("fd", "<i4"),
        ("kind", "<u2"),
        ("role", "<u2"),
    ]
)

NODE: Final = np.dtype(
    [("major", "<u4"), ("first_minor", "<u4"), ("last_minor", "<u4"), ("role", "<u4")]
)

GPU_CONFIG: Final = np.dtype(
    [("node_count", "<u4"), ("count_failed", "<u4"), ("nodes", NODE, (NODES,))]
)

GPU_COUNT: Final = np.dtype([("attempted", "<u8"), ("lost", "<u8")])


class GpuKind(IntEnum):
    """enum whence_gpu_kind."""

    OPENED = 1
    REGISTERED = 2
    UNREGISTERED = 3
    RELEASED = 4
    ENDED = 5
    SEEN = 6


class GpuRole(IntEnum):
    """enum whence_gpu_role."""

    DEVICE = 1
    UVM = 2


class Holder(NamedTuple):
    """A process as the kernel names it: the exec id becomes an image when rows are packed."""

    tgid: int
    start_ns: int
    exec_id: int


class GpuEvent(NamedTuple):
    """One record in Python's own numbers; times are boot ns."""

    kind: int
    at_ns: int
    file: int
    since_ns: int
    uncertainty_ns: int
    process: Holder
    uuid: str | None  # of a registration, as NVML writes it
    device: int
    role: int


def uuid_text(raw: bytes) -> str:
    """Write 16 bytes as NVML does: GPU-8-4-4-4-12."""
    text = raw.hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def gpu_events(rows: Rows) -> list[GpuEvent]:
    """Turn rows of GPU_RECORD into events, in their order."""
    return [
        GpuEvent(
            int(row["kind"]),
            int(row["at_ns"]),
            int(row["file"]),
            int(row["since_ns"]),
            int(row["uncertainty_ns"]),
            Holder(
                int(row["process_tgid"]), int(row["process_start_ns"]), int(row["process_exec_id"])
            ),
            uuid_text(row["uuid"].tobytes())
            if row["kind"] in (GpuKind.REGISTERED, GpuKind.UNREGISTERED)
            else None,
            int(row["device"]),
            int(row["role"]),
        )
        for row in rows
    ]
