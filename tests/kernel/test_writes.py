"""Writes and changes of length: process to file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire

pytestmark = pytest.mark.kernel
WRITERS = [
    ("plain", 7),
    ("positioned", 7),
    ("vectored", 7),
    ("vectored_positioned", 7),
    ("vectored_flagged", 7),
    ("direct", 4096),
    ("space", 0),
]


@pytest.mark.parametrize(("behaviour", "moved_bytes"), WRITERS)
def test_each_call_that_writes_is_one_edge(
    run: Run, place: Path, behaviour: str, moved_bytes: int
) -> None:
    """write, pwrite, writev, pwritev, pwritev2, O_DIRECT, fallocate: into a file that stood."""
    (place / "out").write_bytes(b"before")

    seen = run("writes", behaviour)

    assert seen.edges() == ["write out"]
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (1, moved_bytes)
    assert seen.use("write", "out").flags == wire.ACCESS_FLAG_NONE


def test_a_new_file_is_marked_as_created(run: Run) -> None:
    """The open that creates the file says so."""
    seen = run("writes", "plain")

    assert seen.edges() == ["write out"]
    assert seen.use("write", "out").flags == wire.ACCESS_FLAG_CREATED
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (1, 7)


def test_opening_for_writing_is_no_write(run: Run, place: Path) -> None:
    """A file with content that is opened read-write and left alone has no edge."""
    (place / "out").write_bytes(b"before")

    assert run("writes", "nothing").edges() == []


@pytest.mark.parametrize(
    "behaviour",
    ["by_path", "by_descriptor", "by_open", "by_old_open", "by_openat2", "by_creat"],
)
def test_each_call_that_cuts_a_file_is_one_edge(run: Run, place: Path, behaviour: str) -> None:
    """truncate, ftruncate, and O_TRUNC by open, openat, openat2, creat of a file that stood."""
    (place / "data").write_bytes(b"0123456789")

    assert run("lengths", behaviour).edges() == ["truncate data"]
