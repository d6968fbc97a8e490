"""io_uring: the same edges as plain calls, on the process that owns the ring."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def files(place: Path) -> None:
    """Every workload of this module may read "data" and write "out"; one more is empty."""
    (place / "empty").touch()
    for name in ("data", "out"):
        (place / name).write_bytes(bytes(4096))


@pytest.mark.parametrize(
    "behaviour",
    ["plain", "polled", "vectored", "handed_over", "fixed_files", "fixed_buffers", "fixed_vectors"],
)
def test_requests_are_edges_like_calls(run: Run, behaviour: str) -> None:
    """READ, READV, READ_FIXED; submitted, polled for by a kernel thread, done by a worker."""
    seen = run("uring", behaviour)

    assert seen.edges() == ["read data", "write out"]
    assert (seen.use("read", "data").ops, seen.use("read", "data").bytes) == (1, 100)
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (1, 100)
    assert {len(tgids) for tgids in seen.users().values()} == {1}


def test_an_open_through_the_ring_creates(run: Run) -> None:
    """OPENAT by request, write by call."""
    seen = run("uring", "opened")

    assert seen.edges() == ["write new"]
    assert seen.use("write", "new").flags == wire.ACCESS_FLAG_CREATED
    assert seen.use("write", "new").bytes == 7


def test_an_open_through_the_ring_is_no_touch(run: Run) -> None:
    """Of an empty file, for reading and writing."""
    assert run("uring", "opened_only").edges() == []


def test_an_open_into_the_table_of_the_ring_is_of_no_descriptor(run: Run) -> None:
    """Place 0 of the table is written; the file behind descriptor 0 is not touched."""
    assert run("uring", "opened_in_ring").edges() == ["write out"]


def test_refused_requests_are_no_edges(run: Run) -> None:
    """An absent file, a read of a write-only file, a write to a read-only one."""
    assert run("uring", "failing").edges() == []
