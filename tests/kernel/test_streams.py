"""Pipes and FIFOs: who wrote and who read the same one."""

from __future__ import annotations

from collections import defaultdict

import pytest
from tests.kernel.seen import Run, Seen

from whenced.rows import StreamRow

pytestmark = pytest.mark.kernel
Ends = set[tuple[int, bool, str | None]]


def ends_of(seen: Seen) -> list[Ends]:
    """Return (process, writes, path) of each pipe that was both written and read."""
    pipes: dict[int, Ends] = defaultdict(set)
    for row in seen.of(StreamRow):
        pipes[row.inode].add((row.process.tgid, row.write, row.path))
    return [ends for ends in pipes.values() if len(ends) > 1]


@pytest.mark.parametrize(("behaviour", "name"), [("named", "fifo"), ("anonymous", None)])
def test_both_ends_are_seen(run: Run, behaviour: str, name: str | None) -> None:
    """One pipe, its writer and its reader; only a FIFO has a path. No file edge."""
    seen = run("streams", behaviour)
    writer, reader = (int(word) for word in seen.output.split())
    path = None if name is None else f"{seen.place}/{name}"

    assert ends_of(seen) == [{(writer, True, path), (reader, False, path)}]
    assert seen.edges() == []
