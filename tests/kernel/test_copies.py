"""Content that the kernel moves between two files: source to process to target."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whenced.rows import StreamRow

pytestmark = pytest.mark.kernel
BOTH = ["read data", "write out"]


@pytest.fixture(autouse=True)
def files(place: Path) -> None:
    """Source and target hold something already."""
    for name in ("data", "out"):
        (place / name).write_bytes(bytes(4096))


@pytest.mark.parametrize("behaviour", ["sent", "spliced", "copied"])
def test_each_call_that_moves_content(run: Run, behaviour: str) -> None:
    """sendfile, splice through a pipe, copy_file_range: each side once, with its bytes."""
    seen = run("copies", behaviour)

    assert seen.edges() == BOTH
    assert (seen.use("read", "data").ops, seen.use("read", "data").bytes) == (1, 100)
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (1, 100)


def test_splice_touches_the_pipe_between(run: Run) -> None:
    """One pipe, filled and emptied."""
    touches = run("copies", "spliced").of(StreamRow)

    assert len({row.inode for row in touches}) == 1
    assert sorted(row.write for row in touches) == [False, True]


def test_a_refused_clone_is_no_edge(run: Run) -> None:
    """FICLONE where no blocks can be shared: the call fails and nothing flowed."""
    assert run("copies", "refused_clone").edges() == []
