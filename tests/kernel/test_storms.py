"""Floods of processes lose no beginning and no end; the long form is `make bench BENCH=storm`."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.kernel.seen import Run
from tests.kernel.witness import Witness

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import EndRow, StartRow

pytestmark = pytest.mark.kernel
COUNT = 3000


def lost(witness: Witness) -> int:
    """Count records of life that found no room."""
    return witness.kernel.counts()["life"][2]


def test_programs_as_fast_as_they_can_be_started(run: Run, witness: Witness) -> None:
    before = lost(witness)
    seen = run("storms", "programs", str(COUNT), "0")
    starts = [row for row in seen.of(StartRow) if row.arguments[1:] == ("nothing",)]
    ends = Counter(row.process for row in seen.of(EndRow) if not row.replaced)

    assert lost(witness) == before
    assert {row.origin for row in starts} == {wire.PROCESS_ORIGIN_EXEC}
    assert len(starts) == COUNT
    assert {ends[row.process] for row in starts} == {1}


def test_many_ends_at_once(run: Run, witness: Witness) -> None:
    before = lost(witness)
    seen = run("storms", "at_once", str(COUNT))
    ends = Counter(row.process for row in seen.of(EndRow))

    assert lost(witness) == before
    assert len(ends) == COUNT + 1
    assert set(ends.values()) == {1}
