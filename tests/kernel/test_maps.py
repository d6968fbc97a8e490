"""Mappings: content moves without a call, so the mapping itself is the edge."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def data(place: Path) -> None:
    """Every workload of this module maps "data", a page."""
    (place / "data").write_bytes(bytes(4096))


def test_a_store_to_a_shared_mapping_is_proven(run: Run) -> None:
    """The kernel tells of the first store to a page: the edge carries no remark."""
    seen = run("maps", "shared_write")

    assert seen.use("write", "data").flags == wire.ACCESS_FLAG_NONE
    assert seen.use("map", "data").flags == wire.ACCESS_FLAG_NONE
