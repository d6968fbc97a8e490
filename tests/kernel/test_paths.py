"""Names that are hard to write down arrive whole, or say that they did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import AccessRow

pytestmark = pytest.mark.kernel


def test_names_with_any_byte(run: Run) -> None:
    r"""A line end stays; bytes that are not UTF-8 become \xNN."""
    assert run("paths", "odd").edges() == [
        "delete caf\\xe9 \\xff",
        "rename two\nlines -> caf\\xe9 \\xff",
        "write two\nlines",
    ]


@pytest.mark.parametrize(
    ("depth", "name_bytes"), [(200, 3), (100, 60)], ids=["200 components", "6100 bytes"]
)
def test_long_paths_are_whole(run: Run, depth: int, name_bytes: int) -> None:
    """Deep ones, and ones that are longer than a system call takes."""
    folder = "/".join(["d" * name_bytes] * depth)
    seen = run("paths", "deep", str(depth), str(name_bytes))

    assert seen.edges() == [
        f"rename {folder}/data -> {folder}/moved",
        f"write {folder}/data",
    ]


def test_a_path_beyond_the_limit_is_cut_and_says_so(run: Run, place: Path) -> None:
    """18,000 bytes: the identity is kept, the end of the name, and the mark."""
    seen = run("paths", "deep", "300", "60")
    (row,) = [row for row in seen.of(AccessRow) if row.flags & wire.ACCESS_FLAG_CREATED]

    assert row.flags & wire.ACCESS_FLAG_PATH_TRUNCATED
    assert (row.path or "").endswith(f"/{'d' * 60}/data")
    assert not (row.path or "").startswith(str(place))
    assert row.file.inode > 0
