"""Writes and changes of length: process to file."""

from __future__ import annotations

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire

pytestmark = pytest.mark.kernel


def test_a_new_file_is_marked_as_created(run: Run) -> None:
    """The open that creates the file says so."""
    seen = run("writes", "plain")

    assert seen.edges() == ["write out"]
    assert seen.use("write", "out").flags == wire.ACCESS_FLAG_CREATED
    assert (seen.use("write", "out").ops, seen.use("write", "out").bytes) == (1, 7)
