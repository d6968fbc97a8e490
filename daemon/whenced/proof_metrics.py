"""What the capture proves of itself, for Prometheus; asked for at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProofMetrics(Collector):
    """``proof`` and ``canary`` give the states that doctor reads."""

    def __init__(
        self, proof: Callable[[], dict[str, Any]], canary: Callable[[], dict[str, Any]]
    ) -> None:
        self._proof, self._canary = proof, canary

    def collect(self) -> Iterator[Metric]:
        """Give the families of one scrape."""
        proof, canary = self._proof(), self._canary()
        name = "whence_daemon_"
        yield CounterMetricFamily(name + "walks", "Walks over all tasks.", proof["walks"])
        yield CounterMetricFamily(
            name + "unbalanced_processes",
            "Processes whose birth or end only a walk found.",
            proof["differences"],
        )
        skipped = CounterMetricFamily(
            name + "skipped_programs",
            "Calls that the kernel left out of a program, as it was active on that CPU.",
            labels=["program"],
        )
        for program, count in proof["skipped"].items():
            skipped.add_metric([program], count)
        yield skipped
        yield CounterMetricFamily(
            name + "canary_failures", "Canaries that were not seen.", canary["failures"]
        )
        if "ok" in canary:
            yield GaugeMetricFamily(
                name + "canary_ok", "1 when the last canary was seen.", canary["ok"]
            )
            yield GaugeMetricFamily(
                name + "canary_age_seconds", "Time since the last canary.", canary["age_s"]
            )
