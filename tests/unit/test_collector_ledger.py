"""No batch twice, no gap unseen; and the ids that survive a restart and a failed transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.traced import Digest, digests_of

from whence_collector import ledger
from whence_collector.identity import PATHS, VERSIONS, NumberIds, TextIds
from whence_collector.ledger import Ledger, Mark, Verdict
from whence_collector.rows import surest
from whence_collector.seen import Recent, SeenFilter, fingerprint
from whence_collector.store import Store, Writer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "whence.duckdb")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (4, Verdict(duplicate=True)),
        (5, Verdict(duplicate=True)),
        (6, Verdict(duplicate=False)),
        (9, Verdict(duplicate=False, missing=3)),
    ],
)
def test_a_number_is_judged_by_the_mark_of_its_epoch(number: int, verdict: Verdict) -> None:
    marks = Ledger({"e": Mark(5, 1, 0)})

    assert marks.judge("e", number) == verdict


@pytest.mark.parametrize(("number", "missing"), [(1, 0), (3, 2)])
def test_an_unknown_epoch_begins_at_one(number: int, missing: int) -> None:
    assert Ledger({}).judge("new", number) == Verdict(duplicate=False, missing=missing)


def test_marks_survive_in_one_row_an_epoch(store: Store) -> None:
    def advance(number: int) -> None:
        def work(writer: Writer) -> None:
            marks = ledger.load(writer)
            marks.advance("a", Mark(number, 1, number * 10))
            if number == 2:
                marks.advance("b", Mark(7, 2, 5))
            marks.save(writer)

        store.write(work).result()

    for number in (1, 2, 3):
        advance(number)

    with store.cursor() as reader:
        rows = reader.rows("SELECT * FROM batch_ledger ORDER BY epoch")
    assert rows == [("a", 3, 1, 30), ("b", 7, 2, 5)]


def resolve(store: Store, paths: TextIds, texts: list[str]) -> list[int]:
    """Resolve and commit."""

    def work(writer: Writer) -> list[int]:
        found = paths.resolve(texts, writer).tolist()
        paths.flush(writer)
        return list(found)

    found = store.write(work).result()
    paths.committed()
    return found


def fresh(store: Store, recent_keys: int = 100) -> TextIds:
    paths = TextIds(PATHS, recent_keys)
    store.write(paths.resume).result()
    return paths


def test_ids_are_dense_and_given_once_to_a_key(store: Store) -> None:
    paths = fresh(store)

    first = resolve(store, paths, ["/a", "/b", "/a"])
    second = resolve(store, paths, ["/c", "/b"])

    assert (first, second) == ([1, 2, 1], [3, 2])


def test_ids_go_on_after_a_restart(store: Store) -> None:
    resolve(store, fresh(store), ["/a", "/b"])

    assert resolve(store, fresh(store), ["/b", "/c"]) == [2, 3]


def test_a_key_that_was_forgotten_is_found_in_the_database(store: Store) -> None:
    paths = fresh(store, recent_keys=1)
    for text in ("/a", "/b", "/c", "/d"):
        resolve(store, paths, [text])

    assert resolve(store, paths, ["/a", "/d", "/b"]) == [1, 4, 2]


def test_ids_of_a_transaction_that_failed_are_given_again(store: Store) -> None:
    paths = fresh(store)
    resolve(store, paths, ["/a"])

    def work(writer: Writer) -> None:
        paths.resolve(["/lost", "/also lost"], writer)
        paths.flush(writer)
        raise KeyError("fault")

    with pytest.raises(KeyError):
        store.write(work).result()
    store.write(paths.resume).result()
    found = resolve(store, paths, ["/b", "/lost"])

    with store.cursor() as reader:
        rows = reader.rows("SELECT * FROM path ORDER BY path_id")
    assert (found, rows) == ([2, 3], [(1, "/a"), (2, "/b"), (3, "/lost")])


def test_ids_of_a_commit_that_only_seemed_to_fail_are_found(store: Store) -> None:
    paths = fresh(store)

    def work(writer: Writer) -> None:
        paths.resolve(["/a"], writer)
        paths.flush(writer)

    store.write(work).result()
    store.write(paths.resume).result()  # as after a failure: committed() was never called

    assert resolve(store, paths, ["/b", "/a"]) == [2, 1]


def test_new_ids_are_told_from_old_ones_within_a_transaction(store: Store) -> None:
    paths = fresh(store)
    resolve(store, paths, ["/a"])

    def work(writer: Writer) -> list[bool]:
        return [paths.is_new(at) for at in paths.resolve(["/a", "/b"], writer).tolist()]

    assert store.write(work).result() == [False, True]


def test_numbers_up_to_64_bits_identify_a_version(store: Store) -> None:
    key = np.array([(1, 1, 2**32 - 1, 2**64 - 1, 2**32 - 1, 2**64 - 1)], np.uint64)
    ids = []
    for _ in range(2):
        versions = NumberIds(VERSIONS)

        def work(writer: Writer, versions: NumberIds = versions) -> int:
            versions.resume(writer)
            found = int(versions.resolve(key, writer)[0])
            versions.flush(writer)
            return found

        ids.append(store.write(work).result())

    assert ids == [1, 1]


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=50), st.integers(0, 2**64 - 1))
def test_what_was_seen_is_never_denied(seen: list[int], other: int) -> None:
    keys = SeenFilter()
    keys.add(fingerprint([np.array(seen, np.uint64)]))

    asked = np.array([*seen, other], np.uint64)
    assert keys.maybe(fingerprint([asked]))[: len(seen)].all()


def test_the_filter_grows_and_stays_right_for_most_keys_never_seen() -> None:
    keys = SeenFilter()
    seen = fingerprint([np.arange(600_000, dtype=np.uint64)])
    keys.add(seen)
    never = fingerprint([np.arange(10**9, 10**9 + 100_000, dtype=np.uint64)])

    wrong = int(keys.maybe(never).sum())

    assert keys.maybe(seen).all()
    assert wrong < 1000


def test_the_newest_keys_are_remembered_and_old_ones_forgotten() -> None:
    recent: Recent[int] = Recent(10)
    for first in (1, 11, 21):
        recent.update({key: key + 100 for key in range(first, first + 10)})
        recent.turn()

    assert recent.ids([30, 21, 1]).tolist() == [130, 121, 0]


def digest(version_id: int, state: int, artifact_id: int = 0) -> Digest:
    return (version_id, state, artifact_id, 1, None, 0, 1)


@pytest.mark.parametrize(
    ("given_states", "stored", "kept"),
    [
        ([1], {}, [1]),
        ([4, 3, 1, 2], {}, [1]),
        ([3], {5: 1}, []),
        ([1], {5: 1}, []),
        ([1], {5: 4}, [1]),
        ([4, 3], {5: 4}, [3]),
    ],
)
def test_only_a_surer_digest_takes_the_place_of_a_stored_one(
    given_states: list[int], stored: dict[int, int], kept: list[int]
) -> None:
    found = surest(digests_of([digest(5, state) for state in given_states]), stored)

    assert found.state.tolist() == kept


def test_the_first_of_two_equal_digests_stands() -> None:
    found = surest(digests_of([digest(5, 1, 10), digest(5, 1, 11), digest(6, 4)]), {})

    assert (found.version_id.tolist(), found.artifact_id.tolist()) == ([5, 6], [10, 0])
