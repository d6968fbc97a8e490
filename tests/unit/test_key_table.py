"""Keys of numbers are found whatever their fingerprints are, and told apart by every number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence_collector.key_table import FIRST_ROWS, Keys, KeyTable, RecentKeys, distinct
from whence_collector.seen import Fingerprints

KEYS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2**64 - 1])), max_size=30)


def as_keys(given_keys: list[tuple[int, int]]) -> Keys:
    return np.array(given_keys, np.uint64).reshape(-1, 2)


def prints_of(keys: Keys, spread: int) -> Fingerprints:
    """Make fingerprints that agree wherever the first numbers agree: collisions abound."""
    return keys[:, 0] * np.uint64(spread)


@given(KEYS, KEYS, st.sampled_from([0, 1, 2**63]))
def test_a_table_finds_what_was_put_in_and_nothing_else(
    put: list[tuple[int, int]], asked: list[tuple[int, int]], spread: int
) -> None:
    ids = {key: number for number, key in enumerate(dict.fromkeys(put), 1)}
    table = KeyTable(2)
    for key, number in ids.items():
        keys = as_keys([key])
        table.add(prints_of(keys, spread), keys, np.array([number]))

    keys = as_keys(asked)
    found = table.find(prints_of(keys, spread), keys).tolist()

    assert [ids.get(key, 0) for key in asked] == found


def test_a_table_grows_and_keeps_all() -> None:
    count = 5 * FIRST_ROWS
    keys = np.arange(2 * count, dtype=np.uint64).reshape(-1, 2)
    prints = keys[:, 0] // np.uint64(7)
    table = KeyTable(2)
    for first in range(0, count, 999):
        part = slice(first, min(first + 999, count))
        table.add(prints[part], keys[part], np.arange(count)[part] + 1)

    assert table.find(prints, keys).tolist() == list(range(1, count + 1))
    assert not table.find(prints, keys + np.uint64(1)).any()


@given(KEYS.filter(bool), st.sampled_from([0, 1]))
def test_different_keys_are_listed_in_the_order_of_their_coming(
    given_keys: list[tuple[int, int]], spread: int
) -> None:
    keys = as_keys(given_keys)

    first, which = distinct(prints_of(keys, spread), keys)

    expected = list(dict.fromkeys(given_keys))
    assert [given_keys[at] for at in first.tolist()] == expected
    assert [expected[at] for at in which.tolist()] == given_keys


@pytest.mark.parametrize("spread", [0, 1])
def test_the_newest_keys_are_remembered_and_old_ones_forgotten(spread: int) -> None:
    recent = RecentKeys(2, 10)
    for first in (1, 11, 21):
        keys = as_keys([(each, 5) for each in range(first, first + 10)])
        recent.add(prints_of(keys, spread), keys, np.arange(first, first + 10) + 100)
        recent.turn()

    asked = as_keys([(30, 5), (21, 5), (1, 5), (21, 6), (21, 5)])
    assert recent.find(prints_of(asked, spread), asked).tolist() == [130, 121, 0, 0, 121]


def test_a_key_that_is_used_again_outlives_its_generation() -> None:
    recent = RecentKeys(2, 1)
    one = as_keys([(1, 1)])
    recent.add(prints_of(one, 1), one, np.array([7]))
    for other in range(2, 6):
        recent.turn()
        assert recent.find(prints_of(one, 1), one).tolist() == [7]
        new = as_keys([(other, 1)])
        recent.add(prints_of(new, 1), new, np.array([other * 10]))
