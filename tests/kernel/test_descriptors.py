"""Edges belong to who used a descriptor, not to who opened it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    ("behaviour", "edge"),
    [("inherited", "read data"), ("passed", "read data"), ("duplicated", "write out")],
)
def test_the_user_of_a_descriptor_gets_the_edge(
    run: Run, place: Path, behaviour: str, edge: str
) -> None:
    """Over fork; over a socket (SCM_RIGHTS); over dup, after the first number was closed."""
    (place / "data").write_bytes(b"0123456789")

    seen = run("descriptors", behaviour)

    assert seen.users() == {edge: {int(seen.output)}}
