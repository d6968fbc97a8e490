"""GPU rows on the wire and a collector's books, fed by hand. Times are seconds after ZERO_NS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.collector_batches import BASE_NS, OFFSET_NS, BatchMaker

from whence_collector.check import check
from whence_collector.derive import Deriver
from whence_collector.price_book import PriceBookFile
from whence_collector.recorder import Recorder, Submission
from whence_collector.settle import MINUTE_NS, SECOND_NS, Settled, Settler
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2 as wire

H100 = "GPU-00000000-0000-0000-0000-000000000001"
ZERO_NS = (BASE_NS + OFFSET_NS) // MINUTE_NS * MINUTE_NS + MINUTE_NS  # a whole minute
PRICES = """
[[price]]
gpu_model = "NVIDIA H100*"
usd_per_gpu_hour = 3.6
from = 2020-01-01
"""


class Books:
    """A database, a recorder and a settler, fed by hand."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "prices.toml"
        self.store = Store(directory / "whence.duckdb")
        self.recorder = Recorder(Deriver, lambda: 1)
        self.settler = Settler(PriceBookFile(self.file))
        self._number = 0
        self.register()

    def register(self) -> None:
        """Say Hello as host h1."""
        hello = wire.Hello(host="h1", boot_id="boot-a", wire_version=1)
        self.store.write(lambda writer: self.recorder.register([hello], writer)).result()
        self.recorder.committed()

    def batch(self, boot: str = "boot-a") -> BatchMaker:
        """Begin the next batch."""
        self._number += 1
        return BatchMaker(self._number, boot=boot)

    def send(self, maker: BatchMaker) -> None:
        """Store a batch."""
        submission = Submission(check(maker.batch), 1)
        self.store.write(lambda writer: self.recorder.record([submission], writer)).result()
        self.recorder.committed()

    def settle(self) -> Settled:
        """Bring the ledger level."""
        return self.store.write(lambda writer: self.settler.step(writer, 1)).result()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        with self.store.cursor() as reader:
            return reader.rows(sql)

    def net(self) -> list[tuple[Any, ...]]:
        """Return (from, until, part, seconds, micro-dollars) of every part that stands."""
        rows = self.rows(
            "SELECT from_ns, until_ns, part, sum(alloc_ns), sum(micro_usd) FROM spend_ledger "
            "GROUP BY ALL HAVING sum(alloc_ns) != 0 ORDER BY from_ns, part"
        )
        return [
            ((a - ZERO_NS) / SECOND_NS, (b - ZERO_NS) / SECOND_NS, part, int(ns) / SECOND_NS, micro)
            for a, b, part, ns, micro in rows
        ]


def at(seconds: float) -> int:
    """A time on the wire: relative to the batch's base."""
    return int(ZERO_NS - BASE_NS - OFFSET_NS + seconds * SECOND_NS)


def add_device(maker: BatchMaker, uuid: str = H100, model: str = "NVIDIA H100 80GB HBM3") -> None:
    """Add a row to the batch."""
    table = maker.batch.gpu_devices
    table.gpu_text.append(maker.text(uuid))
    table.at_ns.append(0)
    table.model_text.append(maker.text(model))
    for name in ("pci_text", "driver_text", "parent_text"):
        getattr(table, name).append(0)
    for name in ("minor", "nvml_index", "memory_bytes", "compute_slices", "memory_slices"):
        getattr(table, name).append(-1)


def add_watched(maker: BatchMaker, begin: float, end: float, busy: float | None = None) -> None:
    """Add a row to the batch."""
    table = maker.batch.gpu_slices
    table.gpu_text.append(maker.text(H100))
    table.from_ns.append(at(begin))
    table.until_ns.append(at(end))
    table.busy_ns.append(-1 if busy is None else int(busy * SECOND_NS))
    for name in ("sm_active_ns", "tensor_active_ns", "energy_mj", "memory_used_bytes"):
        getattr(table, name).append(-1)


def add_hold(
    maker: BatchMaker, begin: float, end: float | None, number: int = 1, tgid: int = 100,
    kind: Any = wire.GPU_HOLD_KIND_HELD,
) -> None:  # fmt: skip
    """Add a row to the batch."""
    table = maker.batch.gpu_holds
    table.hold.append(number)
    table.process.append(maker.process(tgid))
    table.gpu_text.append(maker.text(H100))
    table.device.append(195 << 20)
    table.kind.append(kind)
    table.start_ns.append(at(begin))
    table.end_ns.append(at(begin if end is None else end))
    table.open.append(end is None)
    for name in ("start_source", "end_source"):
        getattr(table, name).append(wire.GPU_EDGE_SOURCE_EVENT)
    for name in ("start_uncertainty_ns", "end_uncertainty_ns", "holders"):
        getattr(table, name).append(0)
