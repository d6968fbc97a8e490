"""Names that are hard to write down arrive whole, or say that they did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import AccessRow

pytestmark = pytest.mark.kernel


def test_a_path_beyond_the_limit_is_cut_and_says_so(run: Run, place: Path) -> None:
    """18,000 bytes: the identity is kept, the end of the name, and the mark."""
    seen = run("paths", "deep", "300", "60")
    (row,) = [row for row in seen.of(AccessRow) if row.flags & wire.ACCESS_FLAG_CREATED]

    assert row.flags & wire.ACCESS_FLAG_PATH_TRUNCATED
    assert (row.path or "").endswith(f"/{'d' * 60}/data")
    assert not (row.path or "").startswith(str(place))
    assert row.file.inode > 0
