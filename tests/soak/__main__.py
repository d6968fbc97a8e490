"""`python -m tests.soak`: kills by the thousand; ends with 1 when the accounts do not agree."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.kills import soak


def main() -> int:
    """Run rounds in blocks, each with a database of its own; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--block", type=int, default=100, help="rounds with one database")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    done = rows = 0
    began_s = time.monotonic()
    while done < options.rounds:
        rounds = min(options.block, options.rounds - done)
        with tempfile.TemporaryDirectory(prefix="whence-soak-") as folder:
            found = soak(Path(folder), rounds, options.seed + done)
        done, rows = done + rounds, rows + found.rows
        agree = found.stored_batches == found.batches
        agree = agree and found.stored_rows == found.distinct_rows == found.rows
        print(
            f"{done:,} kills in {time.monotonic() - began_s:,.0f} s: {rows:,} rows, "
            f"{'0 lost, 0 twice' if agree else f'accounts differ: {found}'} (seed {options.seed})",
            flush=True,
        )
        if not agree:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
