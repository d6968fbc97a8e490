"""Rows about GPUs into the columns of ingest.proto. Pure; columns.py packs everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from whence_proto.v1 import ingest_pb2
from whenced.rows import (
    GpuDeviceRow,
    GpuFaultRow,
    GpuHoldRow,
    GpuRow,
    GpuShareRow,
    GpuSliceRow,
    ProcessKey,
    Row,
)


class Dictionaries(Protocol):
    """Texts and processes of one batch, and the base of its times."""

    @property
    def text(self) -> Callable[[str | None], int]:
        """Index of a text."""

    @property
    def process(self) -> Callable[[ProcessKey | None], int]:
        """Index of a process."""

    def delta(self, times_ns: Sequence[int]) -> list[int]:
        """Times relative to the base."""


def _gpu_devices(rows: list[Any], to: Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.gpu_devices, columns_of(GpuDeviceRow, rows)
    table.at_ns.extend(to.delta(column["at_ns"]))
    for name in ("gpu", "model", "pci", "driver", "parent"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    for name in ("minor", "nvml_index", "memory_bytes", "compute_slices", "memory_slices"):
        getattr(table, name).extend(map(_or_unknown, column[name]))


def _gpu_holds(rows: list[Any], to: Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.gpu_holds, columns_of(GpuHoldRow, rows)
    table.process.extend(map(to.process, column["process"]))
    table.gpu_text.extend(map(to.text, column["gpu"]))
    table.start_ns.extend(to.delta(column["start_ns"]))
    table.end_ns.extend(
        to.delta([row.start_ns if row.end_ns is None else row.end_ns for row in rows])
    )
    table.open.extend(row.end_ns is None for row in rows)
    table.end_source.extend(row.end_source or row.start_source for row in rows)
    for name in ("hold", "device", "kind", "start_source", "holders"):
        getattr(table, name).extend(column[name])
    for name in ("start_uncertainty_ns", "end_uncertainty_ns"):
        getattr(table, name).extend(column[name])


def _gpu_slices(rows: list[Any], to: Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.gpu_slices, columns_of(GpuSliceRow, rows)
    table.gpu_text.extend(map(to.text, column["gpu"]))
    table.from_ns.extend(to.delta(column["from_ns"]))
    table.until_ns.extend(to.delta(column["until_ns"]))
    for name in GpuSliceRow._fields[3:]:
        getattr(table, name).extend(map(_or_unknown, column[name]))


def _gpu_shares(rows: list[Any], to: Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.gpu_shares, columns_of(GpuShareRow, rows)
    table.gpu_text.extend(map(to.text, column["gpu"]))
    table.process.extend(map(to.process, column["process"]))
    table.from_ns.extend(to.delta(column["from_ns"]))
    table.until_ns.extend(to.delta(column["until_ns"]))
    table.sm_ppm.extend(map(_or_unknown, column["sm_ppm"]))
    table.memory_bytes.extend(map(_or_unknown, column["memory_bytes"]))
    table.mps.extend(column["mps"])


def _gpu_faults(rows: list[Any], to: Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.gpu_faults
    gpu, at_ns, xid = zip(*rows, strict=True)
    table.gpu_text.extend(map(to.text, gpu))
    table.at_ns.extend(to.delta(at_ns))
    table.xid.extend(xid)


def _or_unknown(value: int | None) -> int:
    """Numbers of GPUs that are not known are -1 on the wire: 0 is a value of theirs."""
    return -1 if value is None else value


def columns_of(kind: type[GpuRow], rows: list[Any]) -> dict[str, tuple[Any, ...]]:
    """Columns of the rows by name."""
    return dict(zip(kind._fields, zip(*rows, strict=True), strict=True))


Pack = Callable[[list[Any], Any, ingest_pb2.Batch], None]
GPU_TABLES: dict[type[Row], Pack] = {
    GpuDeviceRow: _gpu_devices,
    GpuHoldRow: _gpu_holds,
    GpuSliceRow: _gpu_slices,
    GpuShareRow: _gpu_shares,
    GpuFaultRow: _gpu_faults,
}
