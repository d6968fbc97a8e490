"""Money and GPU time of all hosts for Prometheus, read from the ledger.

Labels hold GPU models, projects and parts, each at most LABELS of them: never a user, run, path or
process. What a scrape reads is kept for REFRESH_S, so that two Prometheus servers cost one reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whence_collector import spend_now, spend_report
from whence_collector.errors import StorageUnavailable
from whence_collector.store import Reader, Store
from whence_proto.v1 import spend_pb2 as wire

LABELS = 20
OTHERS = "(others)"
REFRESH_S = 10.0
MICRO = 1e6
NS = 1e9

# Charges only grow; what is taken back or priced later counts on its own.
_CHARGED = """
SELECT coalesce(d.model, ''), coalesce(t.project, r.project, ''), s.part,
    sum(s.micro_usd) FILTER (s.entry_kind = 'charge'),
    sum(s.alloc_ns) FILTER (s.entry_kind = 'charge'),
    sum(s.micro_usd) FILTER (s.entry_kind != 'charge')
FROM spend_ledger s
LEFT JOIN gpu_device d ON d.host_id = s.host_id AND d.gpu_uuid = s.gpu_uuid
LEFT JOIN process_run p ON p.process_id = s.process_id
LEFT JOIN run r ON r.run_id = p.run_id
LEFT JOIN run_project t ON t.run_id = p.run_id
GROUP BY ALL ORDER BY 4 DESC NULLS LAST, 5 DESC
"""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one reading of the database found."""

    charged: list[tuple[Any, ...]]
    unpriced_ns: int
    violations: int
    settled_ns: int
    now: wire.ShowNowResponse
    commitments: wire.ReportCommitmentsResponse


class SpendMetrics(Collector):
    """Families that a scrape asks for; none while the database cannot be read."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._store: Store | None = None
        self._clock = clock
        self._lock = Lock()
        self._snapshot: _Snapshot | None = None
        self._read_s = 0.0

    def use(self, store: Store) -> None:
        """Read from this store from now on."""
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Give the families of one scrape."""
        found = self._read()
        if found is None:
            return
        yield from _charges(found)
        yield from _state(found)
        yield from _commitments(found)

    def _read(self) -> _Snapshot | None:
        with self._lock:
            if self._store and time.monotonic() - self._read_s > REFRESH_S:
                try:
                    with self._store.cursor() as reader:
                        self._snapshot = _snapshot(reader, self._clock())
                except StorageUnavailable:
                    return None  # another gauge says so
                self._read_s = time.monotonic()
            return self._snapshot


def _snapshot(reader: Reader, now_ns: int) -> _Snapshot:
    unpriced = reader.rows(
        "SELECT coalesce(sum(alloc_ns), 0)::BIGINT FROM spend_net WHERE micro_usd IS NULL"
    )
    violations = reader.rows("SELECT count(*) FROM spend_violations")
    settled = reader.rows("SELECT coalesce(max(until_ns), 0) FROM gpu_settled")
    return _Snapshot(
        reader.rows(_CHARGED),
        int(unpriced[0][0]),
        int(violations[0][0]),
        int(settled[0][0]),
        spend_now.show_now(reader, wire.ShowNowRequest(), now_ns),
        spend_report.commitments(reader, wire.ReportCommitmentsRequest(), now_ns),
    )


def _charges(found: _Snapshot) -> Iterator[Metric]:
    labels = ["model", "project", "part"]
    spent = CounterMetricFamily("whence_spend_usd", "Money charged.", labels=labels)
    given = CounterMetricFamily(
        "whence_allocated_gpu_seconds", "GPU time given out.", labels=labels
    )
    corrected = CounterMetricFamily(
        "whence_spend_corrections_usd", "Money of later entries, by sign.", labels=["sign"]
    )
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    signs = {"plus": 0, "minus": 0}
    kept: set[tuple[str, str]] = set()
    for model, project, part, micro_usd, alloc_ns, later in found.charged:
        if (model, project) not in kept and len(kept) < LABELS:
            kept.add((model, project))
        key = (model, project, part) if (model, project) in kept else (OTHERS, OTHERS, part)
        money, time_ns = sums.get(key, (0, 0))
        sums[key] = (money + int(micro_usd or 0), time_ns + int(alloc_ns or 0))
        signs["plus" if (later or 0) >= 0 else "minus"] += abs(int(later or 0))
    for key, (money, time_ns) in sums.items():
        spent.add_metric(list(key), money / MICRO)
        given.add_metric(list(key), time_ns / NS)
    for sign, money in signs.items():
        corrected.add_metric([sign], money / MICRO)
    yield from (spent, given, corrected)


def _state(found: _Snapshot) -> Iterator[Metric]:
    held = [gpu for gpu in found.now.gpus if gpu.holders]
    orphaned = [gpu for gpu in held if all(each.orphaned for each in gpu.holders)]
    for name, text, value in (
        ("burn_usd_per_hour", "What all holders cost together.",
         found.now.burn_micro_usd_per_hour / MICRO),
        ("gpus", "GPUs that are watched now.", len(found.now.gpus)),
        ("held_gpus", "GPUs that somebody holds now.", len(held)),
        ("orphaned_gpus", "GPUs that only orphans hold now.", len(orphaned)),
        ("unpriced_gpu_seconds", "Time in the ledger without a price.", found.unpriced_ns / NS),
        ("spend_violations", "Charges that do not add up; must be 0.", found.violations),
        ("settled_timestamp_seconds", "The ledger is complete up to here.", found.settled_ns / NS),
    ):  # fmt: skip
        yield GaugeMetricFamily(f"whence_{name}", text, value)


def _commitments(found: _Snapshot) -> Iterator[Metric]:
    rows = found.commitments.rows[:LABELS]
    for name, text in (("paid", "Borne so far."), ("used", "Used."), ("unused", "Not used.")):
        family = GaugeMetricFamily(
            f"whence_commitment_{name}_usd", f"Of a commitment: {text}", labels=["commitment"]
        )
        for row in rows:
            family.add_metric([row.commitment], getattr(row, f"{name}_micro_usd") / MICRO)
        yield family
