"""The metrics page: names, values, bad ports."""

from __future__ import annotations

import socket
import urllib.request

from whenced.metrics import Metrics, Sources
from whenced.spool import SpoolStats
from whenced.uplink import UplinkState


def made() -> Metrics:
    return Metrics(
        Sources(
            spool=lambda: SpoolStats(3, 10, 4096, 1, 2, 30, None),
            uplink=lambda: UplinkState(connected=True, unacked_batches=3),
        )
    )


def samples(page: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines if "_created" not in name}


def test_what_is_added_and_what_is_asked_for_is_on_the_page() -> None:
    metrics = made()
    metrics.count_records("touch", 10, 8, 2)
    metrics.rows.inc(9)
    metrics.hash_jobs.labels("torn").inc()
    metrics.drain_seconds.observe(0.002)
    assert metrics.serve("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as reply:
        found = samples(reply.read().decode())
    metrics.close()

    expected = {
        'whence_daemon_records_attempted_total{class="touch"}': 10.0,
        'whence_daemon_records_received_total{class="touch"}': 8.0,
        'whence_daemon_records_lost_total{class="touch"}': 2.0,
        'whence_daemon_records_lost_total{class="life"}': 0.0,
        "whence_daemon_rows_total": 9.0,
        "whence_daemon_batches_total": 0.0,
        'whence_daemon_hash_jobs_total{state="torn"}': 1.0,
        "whence_daemon_drain_seconds_count": 1.0,
        "whence_daemon_spool_batches": 3.0,
        "whence_daemon_spool_disk_bytes": 4096.0,
        "whence_daemon_spool_memory_bytes": 10.0,
        "whence_daemon_spool_writable": 1.0,
        "whence_daemon_uplink_connected": 1.0,
        "whence_daemon_uplink_unacked_batches": 3.0,
        "whence_daemon_damaged_batches_total": 1.0,
        "whence_daemon_unkept_batches_total": 2.0,
        "whence_daemon_lost_rows_total": 30.0,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_a_taken_port_is_no_reason_to_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = made()

        assert not metrics.serve("127.0.0.1", taken.getsockname()[1])
    assert metrics.port is None
    metrics.close()
