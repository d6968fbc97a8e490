"""A canary every minute: what came of it is kept, and a failure is tried again soon."""

from __future__ import annotations

import threading
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from whenced.canary_clock import CanaryClock
from whenced.proof_metrics import ProofMetrics

PROOF = {"walks": 2, "differences": 1, "skipped": {"on_call": 3}}


def reply(*missing: str) -> dict[str, Any]:
    """What the runner answers."""
    edges = [dict(zip(("op", "path"), each.split(), strict=True)) for each in missing]
    return {"ok": not missing, "missing": edges, "elapsed_ms": 40}


def test_a_canary_that_was_seen_is_kept() -> None:
    clock = CanaryClock(lambda _: reply())
    before = clock.state()
    clock.once()
    state = clock.state()

    assert before == {"failures": 0}
    assert (state["ok"], state["failures"], state["missing"], state["elapsed_ms"]) == (
        True,
        0,
        [],
        40,
    )


def test_a_canary_that_was_not_seen_is_a_failure_with_its_edges() -> None:
    clock = CanaryClock(lambda _: reply("read /a", "link /b"))
    clock.once()

    state = clock.state()

    assert (state["ok"], state["failures"]) == (False, 1)
    assert state["missing"] == ["read /a", "link /b"]


def test_a_canary_that_cannot_run_proves_nothing() -> None:
    def no_disk(_: dict[str, Any]) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    clock = CanaryClock(no_disk)
    clock.once()

    assert clock.state()["ok"] is False
    assert "No space left" in clock.state()["missing"][0]


def test_it_runs_again_and_again_until_it_is_stopped() -> None:
    seen, enough = [], threading.Event()

    def canary(_: dict[str, Any]) -> dict[str, Any]:
        seen.append(1)
        if len(seen) == 3:
            enough.set()
        return reply("read /a")

    clock = CanaryClock(canary, period_s=0.001)
    clock.start()

    assert enough.wait(30)
    clock.stop()


def test_metrics_say_what_doctor_says() -> None:
    clock = CanaryClock(lambda _: reply("read /a"))
    registry = CollectorRegistry()
    registry.register(ProofMetrics(lambda: PROOF, clock.state))
    early = generate_latest(registry).decode()
    clock.once()
    page = generate_latest(registry).decode()

    assert "whence_daemon_canary_ok" not in early
    assert "whence_daemon_canary_ok 0.0" in page
    assert "whence_daemon_canary_failures_total 1.0" in page
    assert 'whence_daemon_skipped_programs_total{program="on_call"} 3.0' in page
    assert "whence_daemon_unbalanced_processes_total 1.0" in page
