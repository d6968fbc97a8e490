"""The short forms of `make soak` and `make races`: some rounds, the same accounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.asking import Whence
from tests.scope import Scope
from tests.soak.deaths import block
from tests.soak.deaths import compiled as deaths_compiled
from tests.soak.faults import FAULTS, outage, suffer
from tests.soak.kills import Ledger, soak
from tests.soak.races import compare, compiled, digest_of, race

ROUNDS, SEED = 8, 7


def test_kills_lose_no_row_and_store_none_twice(tmp_path: Path) -> None:
    found = soak(tmp_path, ROUNDS, SEED)

    assert found.stored_batches == found.batches
    assert (found.stored_rows, found.distinct_rows) == (found.rows, found.rows)


def agree(found: Ledger) -> bool:
    """Whether every batch and every row that was handed over is stored, and once."""
    rows = found.stored_rows == found.distinct_rows == found.rows
    return rows and found.stored_batches == found.batches


def test_a_bad_network_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    """Cut at any byte, slow, stalled, in pieces."""
    found = suffer(tmp_path, FAULTS, SEED)

    assert agree(found), found
    assert found.kills > 0  # connections that were cut


def test_what_was_seen_while_the_collector_was_away_is_delivered(tmp_path: Path) -> None:
    found, _ = outage(tmp_path, 200)

    assert agree(found), found


@pytest.mark.kernel
def test_changes_under_readers_give_no_wrong_digest(
    scope: Scope, whence: Whence, tmp_path: Path
) -> None:
    """With pauses, so that there is time to be right; every reader is told, some verified."""
    found = race(scope, whence, compiled(tmp_path), seed=3, changes=1500)

    assert found.wrong == []
    assert len(found.overlapped) <= 1
    assert found.states["missed"] == 0
    assert found.states["verified"] > 0
    assert found.states["torn"] > 0


def test_a_wrong_digest_is_found() -> None:
    """What the comparison above would say of a mixture, and of a digest of another moment."""
    at_rest, mixture = {(1, 64), (2, 64)}, digest_of((3, 64))
    read = {10: (1, 64), 11: (0, 64), 12: (2, 64)}
    told = [
        (10, "read", digest_of((2, 64)), "verified"),
        (11, "read", digest_of((1, 64)), "verified"),
        (12, "read", digest_of((2, 64)), "verified"),
        (5, "write", mixture, "verified"),
        (5, "write", None, "torn"),
    ]
    found = compare(at_rest, read, told, 3)

    assert (len(found.wrong), len(found.overlapped)) == (1, 2)
    assert found.states == {"verified": 3}


def test_deaths_of_everything_lose_nothing_and_tell_nothing_twice(
    scope: Scope, tmp_path: Path
) -> None:
    """Of daemon, hasher, relay and collector, under jobs whose rows are known beforehand."""
    found = block(tmp_path, scope, deaths_compiled(tmp_path), ROUNDS, SEED)

    assert found.differences == []
    assert (found.kills.total(), found.files > 0) == (ROUNDS, True)
