"""Settings say which paths are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from whenced.path_scope import PathScope

SCOPE = PathScope.of([Path("/data")], [Path("/data/private")])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/data", True),
        (b"/data/set.csv", True),
        (b"/database/set.csv", False),
        (b"/data/private", False),
        (b"/data/private/key", False),
        (b"/data/privately", True),
        (b"/home/ann/x", False),
    ],
)
def test_prefixes_are_whole_components_and_exclusion_wins(path: bytes, expected: bool) -> None:

    assert expected == SCOPE.wants(path)


def test_no_inclusion_means_everything() -> None:

    assert PathScope.of([], [Path("/proc")]).wants(b"/anything")
