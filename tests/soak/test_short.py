"""The short form of `make soak`: some rounds, the same accounts."""

from __future__ import annotations

from pathlib import Path

from tests.soak.kills import soak

ROUNDS, SEED = 8, 7


def test_kills_lose_no_row_and_store_none_twice(tmp_path: Path) -> None:
    found = soak(tmp_path, ROUNDS, SEED)

    assert found.stored_batches == found.batches
    assert (found.stored_rows, found.distinct_rows) == (found.rows, found.rows)
