"""Names are absolute in the mount namespace, wherever the process stood."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whenced.rows import AccessRow, NameRow

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def tree(place: Path) -> None:
    """A folder with a file, and folders to mount on."""
    for folder in ("inner", "alias", "layers"):
        (place / folder).mkdir()
    (place / "inner" / "data").write_bytes(b"content")


def test_a_private_mount_namespace_is_named(run: Run, place: Path) -> None:
    """Accesses and name changes of one process say the same namespace, which is not ours."""
    seen = run("places", "bind_mount")
    own = Path("/proc/self/ns/mnt").stat().st_ino
    accesses = {
        row.mount_namespace for row in seen.of(AccessRow) if (row.path or "").startswith(str(place))
    }

    assert {row.mount_namespace for row in seen.of(NameRow)} == accesses
    assert own not in accesses


def test_a_bind_mount_shows_the_same_file(run: Run, place: Path) -> None:
    """Two names, one identity."""
    plain = run("places", "working_directory")
    (place / "moved").rename(place / "inner" / "data")
    aliased = run("places", "bind_mount")
    files = {
        row.file[:3]
        for seen in (plain, aliased)
        for row in seen.of(AccessRow)
        if (row.path or "").startswith(str(place))
    }

    assert len(files) == 1
