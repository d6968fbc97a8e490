"""At most 400 series for a host of eight GPUs, whatever runs on it: daemon and collector."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from tests.unit.test_daemon_metrics import made

from whence_collector import request_metrics, spend_metrics
from whence_collector.request_book import UNDER_WAY, Book
from whence_proto.v1 import spend_pb2 as wire
from whenced.gpu_devices import Gpu
from whenced.gpu_metrics import FAULT_SERIES, GpuMetrics
from whenced.gpu_reading import Reading
from whenced.gpu_totals import GpuTotals

MOST = 400
MANY = 500  # runs, users, projects, requests, commitments
SECOND_NS = 10**9


def count(families: Iterable[Metric]) -> int:
    return sum(len(family.samples) for family in families)


def watch_of_eight() -> Any:
    """Eight GPUs with all that NVML can tell, and as many faults as there are numbers for them."""
    gpus = [Gpu(uuid=f"GPU-{n}", minor=n, nvml_index=n, model="NVIDIA H100") for n in range(8)]
    totals = GpuTotals()
    for gpu in gpus:
        for energy_mj in (1, 2):
            reading = Reading(
                busy_percent=50, memory_used_bytes=1, energy_mj=energy_mj, sm_percent=40,
                tensor_percent=20,
            )  # fmt: skip
            totals.add(gpu.uuid, reading, [], SECOND_NS)
        totals.faults.update({(gpu.uuid, xid): 2 for xid in range(1, 200)})
    return SimpleNamespace(
        gpus=gpus, totals=totals, reason=None, lost=0, holds=SimpleNamespace(corrections=0),
        nvml_errors=lambda: {f"call {n}": 1 for n in range(16)},
    )  # fmt: skip


def test_a_daemon_with_eight_gpus_and_every_fault() -> None:
    metrics = made()
    for record_class in ("touch", "life"):
        metrics.count_records(record_class, 10, 8, 2)
    watch = watch_of_eight()
    metrics.register(GpuMetrics(watch))
    page = generate_latest(metrics.registry).decode()
    metrics.close()
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    faults = [line for line in lines if line.startswith("whence_gpu_xid_errors_total")]

    assert len(lines) <= MOST
    assert FAULT_SERIES < len(faults) <= FAULT_SERIES + 8
    assert sum(float(line.split()[-1]) for line in faults) == sum(watch.totals.faults.values())


def test_a_collector_with_hundreds_of_projects_requests_and_commitments() -> None:
    charged = [
        (f"model {n % 8}", f"project {n}", part, n, n, -n)
        for n in range(MANY)
        for part in ("held", "idle", "unattributed")
    ]
    commitments = wire.ReportCommitmentsResponse(
        rows=[wire.CommitmentRow(commitment=f"c{n}") for n in range(MANY)]
    )
    found = spend_metrics._Snapshot(charged, 0, 0, 0, wire.ShowNowResponse(), commitments)
    money = [*spend_metrics._charges(found), *spend_metrics._state(found)]
    spent = sum(s.value for family in money[:1] for s in family.samples)
    book = Book()
    for n in range(MANY):
        book.requests[f"R-{n}"] = SimpleNamespace(  # type: ignore[assignment]
            request_id=f"R-{n}", state=sorted(UNDER_WAY)[n % len(UNDER_WAY)], reached=n % 120,
            requester_kind="agent", card=SimpleNamespace(budget_micro_usd=n), ending=None,
        )  # fmt: skip
    requests = request_metrics._families(book)
    ratios = next(f for f in requests if f.name == "whence_request_spent_ratio").samples

    assert count([*money, *spend_metrics._commitments(found), *requests]) <= MOST - 80
    assert spent * 1e6 == sum(n for *_, n, _, _ in charged)
    assert min(sample.value for sample in ratios) * 100 >= 100  # those over budget are shown
