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


@pytest.mark.parametrize(
    ("behaviour", "edges"),
    [
        ("renamed", ["rename data -> moved"]),
        ("renamed_at", ["rename from/data -> to/moved"]),
        ("renamed_at_flags", ["rename from/data -> to/moved"]),
        ("exchanged", ["exchange data -> other"]),
        ("linked", ["link data -> second"]),
        ("linked_at", ["link from/data -> to/second"]),
        ("through_links", ["rename real/data -> real/moved"]),
        ("deleted", ["delete data"]),
        ("deleted_at", ["delete from/data"]),
        ("folders_deleted", []),
    ],
)
def test_each_call_that_changes_names(run: Run, behaviour: str, edges: list[str]) -> None:
    """Relative, by directory descriptor, with flags, through a symbolic link."""
    assert run("names", behaviour).edges() == edges


def test_a_replaced_file_is_a_write_and_a_rename(run: Run) -> None:
    """Write to a temporary name, rename over the final one."""
    seen = run("names", "replaced")

    assert seen.edges() == ["rename data.tmp -> data", "write data.tmp"]


def test_a_renamed_file_stays_the_same_file(run: Run) -> None:
    """Both writes, before and after the rename, are on one identity."""
    seen = run("names", "written_after")

    assert seen.edges() == ["rename first -> last", "write first"]
    assert (seen.use("write", "first").ops, seen.use("write", "first").bytes) == (2, 2)


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


def test_a_deleted_file_that_is_still_open_keeps_its_identity(run: Run) -> None:
    """Written and read after the name was gone: edges on the file, not on the name."""
    seen = run("names", "used_after_deletion")
    identities = {
        (row.file.device, row.file.inode)
        for row in seen.of(AccessRow)
        if "brief" in (row.path or "")
    }

    assert seen.edges() == ["delete brief", "read brief", "write brief"]
    assert len(identities) == 1
