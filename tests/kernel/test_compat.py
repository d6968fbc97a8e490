"""System calls of 32-bit programs: the same edges by other numbers and registers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def files(place: Path) -> None:
    """What the workload finds."""
    for name in ("data", "out"):
        (place / name).write_bytes(bytes(200))


def test_content_moves(run: Run) -> None:
    """open, openat, read, pread64, write, sendfile64."""
    seen = run("compat", "moved_content")

    assert seen.edges() == ["read data", "write out"]
    assert (seen.use("read", "data").ops, seen.use("read", "data").bytes) == (3, 110)
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (2, 60)


def test_names_change(run: Run) -> None:
    """rename, renameat2, truncate, unlink, creat."""
    assert run("compat", "changed_names").edges() == [
        "delete moved",
        "exchange moved -> out",
        "rename data -> moved",
        "truncate out",
        "write data",
    ]
