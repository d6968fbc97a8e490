"""The tables of the wire that tell of GPUs, for check.py."""

from __future__ import annotations

from whence_collector.wire_table import Column, Table
from whence_proto.v1 import ingest_pb2 as wire

GPU_TABLES = (
    Table(
        "gpu_devices",
        (
            Column("gpu_text", "text", known=True),
            Column("at_ns", "time"),
            Column("model_text", "text"),
            Column("pci_text", "text"),
            Column("driver_text", "text"),
            Column("parent_text", "text"),
            Column("minor"),
            Column("nvml_index"),
            Column("memory_bytes"),
            Column("compute_slices"),
            Column("memory_slices"),
        ),
    ),
    Table(
        "gpu_holds",
        (
            Column("hold", "count"),
            Column("process", "process"),
            Column("gpu_text", "text"),
            Column("device"),
            Column("kind", "enum", highest=max(wire.GpuHoldKind.values())),
            Column("start_ns", "time"),
            Column("end_ns", "time"),
            Column("open"),
            Column("start_source", "enum", highest=max(wire.GpuEdgeSource.values())),
            Column("end_source", "enum", highest=max(wire.GpuEdgeSource.values())),
            Column("start_uncertainty_ns", "count"),
            Column("end_uncertainty_ns", "count"),
            Column("holders"),
        ),
    ),
    Table(
        "gpu_slices",
        (
            Column("gpu_text", "text", known=True),
            Column("from_ns", "time"),
            Column("until_ns", "time"),
            Column("busy_ns"),
            Column("sm_active_ns"),
            Column("tensor_active_ns"),
            Column("energy_mj"),
            Column("memory_used_bytes"),
        ),
    ),
    Table(
        "gpu_shares",
        (
            Column("gpu_text", "text", known=True),
            Column("process", "process"),
            Column("from_ns", "time"),
            Column("until_ns", "time"),
            Column("sm_ppm"),
            Column("memory_bytes"),
            Column("mps"),
        ),
    ),
    Table(
        "gpu_faults",
        (Column("gpu_text", "text", known=True), Column("at_ns", "time"), Column("xid")),
    ),
)
