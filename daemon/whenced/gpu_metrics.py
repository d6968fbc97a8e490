"""GPU time for Prometheus: seconds, joules and bytes by GPU. No label names a process or a run.

Series grow with the GPUs of the host and not with what runs on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from whenced.gpu_totals import DURATIONS_S

if TYPE_CHECKING:
    from whenced.gpu_devices import Gpu
    from whenced.gpu_watch import GpuWatch

_NS: Final = 1e9
# (GPU, Xid) pairs with a series of their own, the first seen; a job can provoke any number more.
FAULT_SERIES: Final = 64
_TIMES: Final = (
    ("watched", "Time in which the GPU was watched."),
    ("attached", "Time in which some process had its node open."),
    ("held", "Time in which a context may have existed on it."),
    ("orphaned", "Time in which it was held and who registered it had ended."),
    ("busy", "Time in which a kernel was resident."),
    ("sm_active", "Time weighted by the share of SMs with work."),
    ("tensor_active", "Time in which tensor pipes were active."),
)


def gpu_label(gpu: Gpu) -> str:
    """Short name of a GPU within its host: its NVML index, else minor number."""
    return str(gpu.minor if gpu.nvml_index is None else gpu.nvml_index)


class GpuMetrics(Collector):
    """Metrics of the watch, asked for at each scrape."""

    def __init__(self, watch: GpuWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Give the families of one scrape."""
        watch, totals = self._watch, self._watch.totals
        whole = {gpu.uuid: gpu for gpu in watch.gpus if gpu.mig_parent is None}
        labels = {uuid: gpu_label(gpu) for uuid, gpu in whole.items()}
        yield GaugeMetricFamily(
            "whence_gpu_accounting", "1 while GPUs are watched.", float(watch.reason is None)
        )
        yield _info(whole, labels)
        for name, text in _TIMES:
            family = CounterMetricFamily(f"whence_gpu_{name}_seconds", text, labels=["gpu"])
            for uuid, label in labels.items():
                if (name, uuid) in totals.time_ns:
                    family.add_metric([label], totals.time_ns[name, uuid] / _NS)
            yield family
        energy = CounterMetricFamily("whence_gpu_energy_joules", "Energy used.", labels=["gpu"])
        holders = GaugeMetricFamily("whence_gpu_holders", "Processes that hold it.", labels=["gpu"])
        memory = GaugeMetricFamily("whence_gpu_memory_used_bytes", "Memory in use.", labels=["gpu"])
        for uuid, label in labels.items():
            if uuid in totals.energy_mj:
                energy.add_metric([label], totals.energy_mj[uuid] / 1000)
            holders.add_metric([label], totals.holders.get(uuid, 0))
            if (used := totals.memory_bytes.get(uuid)) is not None:
                memory.add_metric([label], used)
        yield from (energy, holders, memory)
        yield from self._counts(labels)

    def _counts(self, labels: dict[str, str]) -> Iterator[Metric]:
        watch, totals = self._watch, self._watch.totals
        faults = CounterMetricFamily(
            "whence_gpu_xid_errors", "Faults by Xid.", labels=["gpu", "xid"]
        )
        for pair, count in _few_faults(totals.faults, labels).items():
            faults.add_metric(list(pair), count)
        yield faults
        errors = CounterMetricFamily("whence_gpu_nvml_errors", "Failed calls.", labels=["call"])
        for call, count in watch.nvml_errors().items():
            errors.add_metric([call], count)
        yield errors
        yield CounterMetricFamily(
            "whence_gpu_lost_events", "Kernel events for which there was no room.", watch.lost
        )
        yield CounterMetricFamily(
            "whence_gpu_corrections",
            "Open files that no event had told of.",
            watch.holds.corrections,
        )
        reached, buckets = 0, []
        for bound in (*DURATIONS_S, float("inf")):
            reached += totals.durations[bound]
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(reached)))
        yield HistogramMetricFamily(
            "whence_gpu_hold_duration_seconds",
            "Durations of holds that ended.",
            buckets=buckets,
            sum_value=totals.duration_sum_ns / _NS,
        )


def _few_faults(
    counted: Mapping[tuple[str, int], int], labels: Mapping[str, str]
) -> Counter[tuple[str, str]]:
    """Count by (GPU, Xid) in the order in which they came; what is beyond the first is "other"."""
    few: Counter[tuple[str, str]] = Counter()
    for number, ((uuid, xid), count) in enumerate(counted.items()):
        told = str(xid) if number < FAULT_SERIES else "other"
        few[labels.get(uuid, "unknown"), told] += count
    return few


def _info(whole: dict[str, Gpu], labels: dict[str, str]) -> Metric:
    info = InfoMetricFamily("whence_gpu", "Identity of each GPU.", labels=["gpu"])
    for uuid, gpu in whole.items():
        names = {"uuid": uuid, "model": gpu.model, "pci": gpu.pci, "driver": gpu.driver}
        info.add_metric([labels[uuid]], {name: value or "" for name, value in names.items()})
    return info
