"""Reads: file to process, one edge however many calls, with calls and bytes exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

pytestmark = pytest.mark.kernel
CONTENT = b"0123456789abcdef" * 256


@pytest.fixture(autouse=True)
def data(place: Path) -> None:
    """Every workload of this module reads "data", of 4,096 bytes."""
    (place / "data").write_bytes(CONTENT)


def test_a_million_reads_are_one_edge_with_exact_counts(run: Run) -> None:
    """After the first touch, calls are only counted: none is missed."""
    seen = run("reads", "many", "1000000")

    assert seen.edges() == ["read data"]
    assert seen.use("read", "data").ops == 1_000_000
    assert seen.use("read", "data").bytes == 1_000_000
