"""Names of outputs after renames, links, deletions and exchanges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence_collector.names import (
    DELETE,
    EXCHANGE,
    LINK,
    RENAME,
    Change,
    Standing,
    Written,
    standing_names,
)

CASES = [
    ("nothing", {"/a": 1}, [], {"/a": ("/a", False)}),
    ("temporary name", {"/a.tmp": 1}, [(RENAME, "/a.tmp", "/a")], {"/a.tmp": ("/a", False)}),
    ("folder", {"/t/x/y": 1}, [(RENAME, "/t", "/final")], {"/t/x/y": ("/final/x/y", False)}),
    (
        "folder then file",
        {"/t/y": 1},
        [(RENAME, "/t", "/u"), (RENAME, "/u/y", "/u/z")],
        {"/t/y": ("/u/z", False)},
    ),
    ("deletion", {"/a": 1}, [(DELETE, "/a", "")], {"/a": ("/a", True)}),
    ("folder's deletion", {"/d/a": 1}, [(DELETE, "/d", "")], {"/d/a": ("/d/a", True)}),
    ("other name", {"/a": 1}, [(DELETE, "/ab", "")], {"/a": ("/a", False)}),
    (
        "renamed over",
        {"/a": 1, "/a.tmp": 2},
        [(RENAME, "/a.tmp", "/a")],
        {"/a": ("/a", True), "/a.tmp": ("/a", False)},
    ),
    (
        "renamed over by a stranger",
        {"/a": 1},
        [(RENAME, "/unknown", "/a")],
        {"/a": ("/a", True)},
    ),
    (
        "exchange",
        {"/a": 1, "/b": 2},
        [(EXCHANGE, "/a", "/b")],
        {"/a": ("/b", False), "/b": ("/a", False)},
    ),
    (
        "exchange with a stranger",
        {"/a": 1},
        [(EXCHANGE, "/a", "/b")],
        {"/a": ("/b", False)},
    ),
    (
        "link and unlink",
        {"/t": 1},
        [(LINK, "/t", "/final"), (DELETE, "/t", "")],
        {"/t": ("/final", False)},
    ),
    ("link", {"/t": 1}, [(LINK, "/t", "/u")], {"/t": ("/t", False)}),
    ("to itself", {"/a": 1}, [(RENAME, "/a", "/a")], {"/a": ("/a", False)}),
    (
        "swap by a third name",
        {"/a": 1, "/b": 2},
        [(RENAME, "/a", "/c"), (RENAME, "/b", "/a"), (RENAME, "/c", "/b")],
        {"/a": ("/b", False), "/b": ("/a", False)},
    ),
    (
        "below itself and back",
        {"/a/b": 1},
        [(RENAME, "/a/b", "/b"), (RENAME, "/b", "/a/b")],
        {"/a/b": ("/a/b", False)},
    ),
]


@pytest.mark.parametrize(("_what", "written", "changes", "expected"), CASES)
def test_names(
    _what: str,
    written: dict[str, int],
    changes: list[tuple[int, str, str]],
    expected: dict[str, tuple[str, bool]],
) -> None:
    found = standing_names(
        [Written(path, path, at_ns) for path, at_ns in written.items()],
        [Change(*change, at_ns) for at_ns, change in enumerate(changes, 10)],
    )

    assert {key: Standing(*name) for key, name in expected.items()} == found


def test_change_before_the_write_is_no_matter() -> None:
    found = standing_names([Written("v", "/a", 10)], [Change(RENAME, "/a", "/b", 5)])

    assert {"v": Standing("/a", deleted=False)} == found


def test_rewritten_after_deletion_stands() -> None:
    found = standing_names(
        [Written(1, "/a", 1), Written(2, "/a", 9)], [Change(DELETE, "/a", "", 5)]
    )

    assert {1: Standing("/a", deleted=True), 2: Standing("/a", deleted=False)} == found


def test_versions_of_one_file_move_together() -> None:
    found = standing_names(
        [Written(1, "/a", 1), Written(2, "/a", 2)], [Change(RENAME, "/a", "/b", 5)]
    )

    assert {Standing("/b", deleted=False)} == set(found.values())


PATHS = st.sampled_from(["/a", "/b", "/d/a", "/d/b", "/e/f/g", "/d", "/e", "/e/f"])


@given(
    written=st.lists(PATHS, unique=True, min_size=1),
    changes=st.lists(st.tuples(st.sampled_from([RENAME, DELETE, EXCHANGE, LINK]), PATHS, PATHS)),
)
def test_two_outputs_never_stand_under_one_name_unless_linked(
    written: list[str], changes: list[tuple[int, str, str]]
) -> None:
    moves = [change for change in changes if change[0] != LINK]
    found = standing_names(
        [Written(path, path, 0) for path in written],
        [Change(*change, at_ns) for at_ns, change in enumerate(moves, 1)],
    )
    names = [name.path for name in found.values() if not name.deleted]

    assert len(names) == len(set(names))
    assert set(written) == set(found)
