"""Renames, links, deletions: one user action is one row, with both names whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whenced.rows import AccessRow, NameRow

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def tree(place: Path) -> None:
    """Files and folders that the workloads find."""
    for folder in ("from", "to", "real", "hollow"):
        (place / folder).mkdir()
    for name in ("data", "other", "from/data", "real/data"):
        (place / name).write_bytes(b"content of " + name.encode())
    (place / "alias").symlink_to("real")


def test_a_folder_moves_with_everything_below(run: Run) -> None:
    """20 outputs, one rename; a read below the new name is of the file that was written."""
    seen = run("names", "folder")
    written = {row.file for row in seen.of(AccessRow) if (row.path or "").endswith("part7")}

    assert seen.edges() == sorted(
        [f"write draft/part{number}" for number in range(20)]
        + ["rename draft/ -> final/", "read final/part7"]
    )
    assert len(written) == 1


def test_a_link_is_to_the_file_that_was_known(run: Run, place: Path) -> None:
    """A read after the link, by the second name, is on one identity with the first."""
    seen = run("names", "linked")
    (row,) = seen.of(NameRow)

    assert (place / "second").stat().st_ino == (place / "data").stat().st_ino
    assert (row.path, row.new_path) == (f"{place}/data", f"{place}/second")
