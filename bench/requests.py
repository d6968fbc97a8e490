"""A million random acts on requests beside a plain model, and how long an act takes.

`python -m bench.requests --acts N` walks alone; a broken promise ends it at the act that broke it.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass

from bench.report import Section
from tests.unit.request_model import Twin, step

ACTS = 1_000_000
# A book of its own for so many acts: every walk begins empty, as every collector did.
ACTS_OF_A_BOOK = 20_000
CHECKED_EVERY = 2_000


@dataclass(slots=True)
class Walked:
    """What a soak did. Broken promises do not appear: they end it."""

    acts: int = 0
    seconds: float = 0.0
    records: int = 0
    accepted: dict[str, int] | None = None


def walk(acts: int, seed: int = 6) -> Walked:
    """Do random acts of random principals; AssertionError at the first broken promise."""
    done, chance = Walked(accepted={}), random.Random(seed)  # noqa: S311 -- to be walked again
    began = time.perf_counter()
    while done.acts < acts:
        twin = Twin()
        for _ in range(min(ACTS_OF_A_BOOK, acts - done.acts)):
            step(twin, chance)
            done.acts += 1
            if done.acts % CHECKED_EVERY == 0:
                twin.check()
        twin.check()
        twin.check_chain()
        done.records += len(twin.records)
        for name, count in twin.accepted.items():
            assert done.accepted is not None  # noqa: S101 -- set above
            done.accepted[name] = done.accepted.get(name, 0) + count
    done.seconds = time.perf_counter() - began
    return done


def measure() -> Section:
    """Walk a million acts and print what was done."""
    done = walk(ACTS)
    accepted = done.accepted or {}
    rows = [
        ("random acts of nine principals", f"{done.acts:,}"),
        ("of them accepted", f"{sum(accepted.values()):,}"),
        *((f"  {name}", f"{count:,}") for name, count in accepted.items()),
        ("approvals that the model forbids", "0"),
        ("claims of two at a time", "0"),
        ("comments lost", "0"),
        ("records chained and verified", f"{done.records:,}"),
        ("an act with its model, checks and chain", f"{done.seconds / done.acts * 1e6:.0f} us"),
    ]
    return Section(
        "requests",
        "a million acts on training requests",
        "0 forbidden approvals, 0 double claims, 0 lost comments",
        "Each act is done to the product's rules and to a model that restates the promises; the"
        " first difference ends the walk, so a table means that there was none.",
        ("what", "count"),
        tuple(rows),
    )


def main() -> None:
    """Walk as many acts as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--acts", type=int, default=ACTS)
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    done = walk(options.acts, options.seed)
    print(f"{done.acts:,} acts, {done.records:,} records, {done.seconds:.0f} s, {done.accepted}")


if __name__ == "__main__":
    main()
