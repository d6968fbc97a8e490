"""A flood in short: no edge is lost or invented, and no call is lost or counted twice.

The whole of it, ten minutes at a million operations a second, is `make bench BENCH=floods`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.floods import names, prepare, said, settled, words_of
from tests.asking import Whence
from tests.scope import Scope

pytestmark = pytest.mark.kernel

SECONDS, RATE, WORKERS = 2, 300_000, 2


def test_a_flood_is_told_to_the_last_call(scope: Scope, whence: Whence, place: Path) -> None:
    program = prepare(place, WORKERS)
    running = [
        scope.start(words_of(program, name, SECONDS, RATE, WORKERS), place)
        for name in names(WORKERS)
    ]
    workers = [
        said(name, process.communicate()[0])
        for name, process in zip(names(WORKERS), running, strict=True)
    ]

    told = settled(lambda query: [tuple(row.values()) for row in whence.sql(query)], place, workers)

    assert [each for each in told if not each.is_exact] == []
    assert {each.kind for each in told if each.real} >= {"files made", "renames"}
