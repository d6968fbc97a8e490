"""docs/operations.md names every metric that is served, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.conformance.repository import ROOT

import whence_collector.metrics
import whenced.metrics
from whenced.proof_metrics import ProofMetrics
from whenced.relay import Traffic
from whenced.relay_metrics import Page
from whenced.spool import SpoolStats
from whenced.uplink import UplinkState

PROOF = {"walks": 0, "differences": 0, "skipped": {}}
NAME = re.compile(r"^\| `(whence_[a-z_]+)` \|", re.MULTILINE)


def names_of(registry: CollectorRegistry) -> set[str]:
    """Return the metrics of a registry as a scrape names them."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in registry.collect()
    }


def served() -> set[str]:
    daemon = whenced.metrics.Metrics(
        whenced.metrics.Sources(lambda: SpoolStats(0, 0, 0, 0, 0, 0, None), UplinkState)
    )
    daemon.register(ProofMetrics(lambda: PROOF, lambda: {"failures": 0, "ok": True, "age_s": 1.0}))
    uplink = Page(Path("/nonexistent"), Traffic()).text().decode()
    return (
        names_of(whence_collector.metrics.Metrics().registry)
        | names_of(daemon.registry)
        | set(re.findall(r"^# TYPE (\S+)", uplink, re.MULTILINE))
    )


def test_every_metric_is_explained() -> None:
    """Whoever adds a metric says what to do when it is wrong."""
    explained = set(NAME.findall((ROOT / "docs" / "operations.md").read_text()))

    assert explained == served()


def test_every_setting_that_a_service_knows_is_in_its_commented_file() -> None:
    """A setting that stands in no file is found by nobody."""
    import dataclasses

    from whence_collector.config import _RULES as COLLECTOR
    from whenced.config import GpuSettings, Scope, Settings
    from whenced.relay_config import RelaySettings, Tls

    def fields(*kinds: type) -> set[str]:
        return {field.name for kind in kinds for field in dataclasses.fields(kind)}

    known = {
        "collector.toml": set(COLLECTOR),
        "uplink.toml": fields(RelaySettings, Tls),
        "whenced.toml": fields(Settings, Scope, GpuSettings) - {"stand_ins"},  # of tests,
    }
    for name, settings in known.items():
        text = (ROOT / "deploy" / "config" / name).read_text()
        shown = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)) | set(
            re.findall(r"^(?:# )?\[{1,2}(\w+)\]", text, re.MULTILINE)
        )
        missing = settings - shown

        assert missing == set(), name
