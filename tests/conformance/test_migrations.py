"""Migrations are numbered without gap or repeat: a repeated number would never be applied."""

from __future__ import annotations

from tests.conformance.repository import ROOT


def test_numbers_count_up_from_one() -> None:
    folder = ROOT / "collector" / "whence_collector" / "migrations"

    numbers = sorted(int(path.name[:4]) for path in folder.glob("*.sql"))

    assert numbers == list(range(1, len(numbers) + 1))
