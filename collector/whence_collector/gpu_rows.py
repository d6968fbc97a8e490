"""GPU tables of a batch to rows of the database: devices, holds, slices, shares, faults.

Works inside the transaction that it is given. May not price or attribute anything: settle.py does,
from what is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.gpu_tables import GPU_TABLES
from whence_collector.hosts import Origin
from whence_collector.store import Writer
from whence_proto.v1 import ingest_pb2 as wire

Ints = npt.NDArray[np.int64]
_SLICE_VALUES = ("busy_ns", "sm_active_ns", "tensor_active_ns", "energy_mj", "memory_used_bytes")
_DEVICE_NUMBERS = ("minor", "nvml_index", "memory_bytes", "compute_slices", "memory_slices")


def has_gpu_rows(batch: wire.Batch) -> bool:
    """Whether a batch says anything of GPUs; most do not."""
    return any(
        len(getattr(getattr(batch, table.name), table.columns[0].name)) for table in GPU_TABLES
    )


class GpuRows:
    """Keeps GPU rows; remembers the clock of each boot."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def keep(self, batch: wire.Batch, origin: Origin, processes: Ints, writer: Writer) -> None:
        """Store everything that the batch says of GPUs.

        processes: process_id by index into the batch's process_keys, element 0 is 0.
        """
        zero_ns = batch.base_ns + self._offset(batch, origin, writer)
        text: list[str | None] = [None, *batch.strings]
        _keep_devices(batch.gpu_devices, origin.host_id, text, zero_ns, writer)
        _keep_holds(batch.gpu_holds, origin.host_id, text, zero_ns, processes, writer)
        slices = batch.gpu_slices
        writer.append(
            "gpu_slice",
            {
                "host_id": [origin.host_id] * len(slices.gpu_text),
                "gpu_uuid": [text[at] for at in slices.gpu_text],
                "from_ns": [at_ns + zero_ns for at_ns in slices.from_ns],
                "until_ns": [at_ns + zero_ns for at_ns in slices.until_ns],
                **{name: _known(getattr(slices, name)) for name in _SLICE_VALUES},
            },
        )
        shares = batch.gpu_shares
        writer.append(
            "gpu_share",
            {
                "host_id": [origin.host_id] * len(shares.gpu_text),
                "gpu_uuid": [text[at] for at in shares.gpu_text],
                "process_id": [int(processes[at]) for at in shares.process],
                "from_ns": [at_ns + zero_ns for at_ns in shares.from_ns],
                "until_ns": [at_ns + zero_ns for at_ns in shares.until_ns],
                "sm_ppm": _known(shares.sm_ppm),
                "memory_bytes": _known(shares.memory_bytes),
                "mps": list(shares.mps),
            },
        )
        faults = batch.gpu_faults
        writer.append(
            "gpu_fault",
            {
                "host_id": [origin.host_id] * len(faults.gpu_text),
                "gpu_uuid": [text[at] for at in faults.gpu_text],
                "at_ns": [at_ns + zero_ns for at_ns in faults.at_ns],
                "xid": list(faults.xid),
            },
        )

    def _offset(self, batch: wire.Batch, origin: Origin, writer: Writer) -> int:
        """One offset for a whole boot: see gpu_clock in the schema."""
        if origin.boot_id not in self._offsets:
            found = writer.rows(
                "SELECT wall_offset_ns FROM gpu_clock WHERE boot_id = ?", (origin.boot_id,)
            )
            if not found:
                _end_earlier(origin.host_id, writer)
                writer.append(
                    "gpu_clock",
                    {"boot_id": [origin.boot_id], "wall_offset_ns": [batch.wall_offset_ns]},
                )
                return batch.wall_offset_ns  # not remembered: the transaction may yet fail
            self._offsets[origin.boot_id] = int(found[0][0])
        return self._offsets[origin.boot_id]


def _end_earlier(host_id: int, writer: Writer) -> None:
    """End what a boot before this one left open: nothing outlives the kernel.

    It ended after the last slice that came of it; nobody knows when.
    """
    writer.execute(
        "UPDATE gpu_hold SET end_ns = greatest(start_ns, coalesce("
        "(SELECT max(until_ns) FROM gpu_slice WHERE host_id = ?), start_ns)), end_source = ? "
        "WHERE host_id = ? AND end_ns IS NULL",
        (host_id, wire.GPU_EDGE_SOURCE_RESTART, host_id),
    )


def _keep_devices(
    devices: Any, host_id: int, text: Sequence[str | None], zero_ns: int, writer: Writer
) -> None:
    count = len(devices.gpu_text)
    if not count:
        return
    columns: dict[str, list[Any]] = {
        "gpu_uuid": [text[at] for at in devices.gpu_text],
        "at_ns": [at_ns + zero_ns for at_ns in devices.at_ns],
        "host_id": [host_id] * count,
        "model": [text[at] for at in devices.model_text],
        "pci": [text[at] for at in devices.pci_text],
        "driver": [text[at] for at in devices.driver_text],
        "parent": [text[at] for at in devices.parent_text],
        **{name: _known(getattr(devices, name)) for name in _DEVICE_NUMBERS},
    }
    last = {uuid: row for row, uuid in enumerate(columns["gpu_uuid"])}
    writer.rows_with(
        {"gpu_uuid": list(last)},
        "DELETE FROM gpu_device WHERE host_id = ? AND gpu_uuid IN (SELECT gpu_uuid FROM wanted)",
        (host_id,),
    )
    writer.append(
        "gpu_device",
        {name: [values[row] for row in last.values()] for name, values in columns.items()},
    )


def _keep_holds(
    holds: Any, host_id: int, text: Sequence[str | None], zero_ns: int, processes: Ints,
    writer: Writer,
) -> None:  # fmt: skip
    if not len(holds.hold):
        return
    last = {hold: row for row, hold in enumerate(holds.hold)}
    rows = list(last.values())
    new: dict[str, list[Any]] = {
        "hold": list(last),
        "process_id": [int(processes[holds.process[row]]) for row in rows],
        "host_id": [host_id] * len(rows),
        "gpu_uuid": [text[holds.gpu_text[row]] for row in rows],
        "device": [holds.device[row] for row in rows],
        "kind": [holds.kind[row] for row in rows],
        "start_ns": [holds.start_ns[row] + zero_ns for row in rows],
        "end_ns": [None if holds.open[row] else holds.end_ns[row] + zero_ns for row in rows],
        "start_source": [holds.start_source[row] for row in rows],
        "end_source": [None if holds.open[row] else holds.end_source[row] for row in rows],
        "start_uncertainty_ns": [holds.start_uncertainty_ns[row] for row in rows],
        "end_uncertainty_ns": [holds.end_uncertainty_ns[row] for row in rows],
        "holders": [holds.holders[row] or None for row in rows],
    }
    known = writer.rows_with(
        {"hold": new["hold"]},
        "DELETE FROM gpu_hold WHERE hold IN (SELECT hold FROM wanted) "
        "RETURNING hold, gpu_uuid, kind, start_ns, end_ns",
    )
    writer.append("gpu_hold", new)
    _mark_unsettled(host_id, new, {row[0]: row[1:] for row in known}, writer)


def _mark_unsettled(
    host_id: int, new: dict[str, list[Any]], known: dict[int, tuple[Any, ...]], writer: Writer
) -> None:
    """Note from when on the ledger has to look again, where it has been there already."""
    touched: dict[str, int] = {}
    columns = ("hold", "gpu_uuid", "kind", "start_ns", "end_ns")
    for row in zip(*(new[name] for name in columns), strict=True):
        hold, uuid, kind, start_ns, end_ns = row
        if uuid is None or kind == wire.GPU_HOLD_KIND_ATTACHED:
            continue
        before = known.get(hold)
        if before is None:
            changed = [start_ns]
        else:
            changed = [] if before[2] == start_ns else [min(start_ns, before[2])]
            if before[3] != end_ns:
                changed.append(min(at for at in (before[3], end_ns) if at is not None))
        for at_ns in changed:
            touched[uuid] = min(at_ns, touched.get(uuid, at_ns))
    if touched:
        writer.append(
            "gpu_unsettled",
            {
                "host_id": [host_id] * len(touched),
                "gpu_uuid": list(touched),
                "from_ns": list(touched.values()),
            },
        )


def _known(values: Iterable[int]) -> list[int | None]:
    """Turn the wire's -1 into None."""
    return [None if value < 0 else value for value in values]
