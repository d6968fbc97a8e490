"""How long a host needs to deliver what it saw while its collector was away.

Only measures; what is delivered is counted against what was handed over, as in tests/soak.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.report import Section, spread
from tests.soak.faults import outage

AWAY_S = 3_600
ROUNDS = 3


def measure() -> Section:
    """Fill the spool with an hour of a busy host's batches, start the collector, wait; a minute."""
    times_s, ratios, rows = [], [], 0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
            found, lasted_s = outage(Path(folder), AWAY_S)
        if not found.stored_rows == found.distinct_rows == found.rows:
            raise SystemExit(f"the accounts differ: {found}")
        times_s.append(lasted_s)
        ratios.append(AWAY_S / lasted_s)
        rows = found.rows
        time.sleep(1.0)
    return Section(
        "outage",
        "what waits after an hour without a collector",
        "10 times as fast as it came",
        f"{AWAY_S:,} batches, one for each second, {rows:,} rows in all, handed to a spool; a real"
        " relay and collector; from the start of the collector's serving to the last ack. Every row"
        " is counted in the database afterwards: none lost, none twice.",
        ("what", "median (least to greatest)"),
        (
            ("until all was acked", spread(times_s, "s", 1)),
            ("times real time", spread(ratios, "x")),
        ),
    )
