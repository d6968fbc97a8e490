"""Which batches are stored: the highest number of each epoch, so that none is stored twice.

Decides from memory; load() and save() are its only contact with the database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whence_collector.store import Writer


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one epoch got."""

    number: int
    boot_id: int
    committed_ns: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a batch: skip it, or store it and note how many before it are missing."""

    duplicate: bool
    missing: int = 0


class Ledger:
    """The marks of all epochs."""

    def __init__(self, marks: dict[str, Mark]) -> None:
        self._marks = marks
        self._changed: set[str] = set()
        self._stored = set(marks)

    def judge(self, epoch: str, number: int) -> Verdict:
        """Tell whether a batch is new, and how many numbers were skipped before it."""
        mark = self._marks.get(epoch)
        reached = mark.number if mark else 0
        if number <= reached:
            return Verdict(duplicate=True)
        return Verdict(duplicate=False, missing=number - reached - 1)

    def mark(self, epoch: str) -> Mark | None:
        """Return how far an epoch got, None when nothing of it came."""
        return self._marks.get(epoch)

    def advance(self, epoch: str, mark: Mark) -> None:
        """Note that a batch is in the open transaction."""
        self._marks[epoch] = mark
        self._changed.add(epoch)

    def save(self, writer: Writer) -> None:
        """Write what advanced; in the same transaction as the rows themselves."""
        fresh = sorted(self._changed - self._stored)
        later = self._changed & self._stored
        if fresh:
            writer.append("batch_ledger", self._columns(fresh))
        for epoch in later:  # as many as daemons sent to this commit
            mark = self._marks[epoch]
            writer.execute(
                "UPDATE batch_ledger SET number = ?, committed_ns = ? WHERE epoch = ?",
                (mark.number, mark.committed_ns, epoch),
            )
        self._stored |= self._changed
        self._changed.clear()

    def _columns(self, epochs: Iterable[str]) -> dict[str, list[str] | list[int]]:
        marks = [(epoch, self._marks[epoch]) for epoch in epochs]
        return {
            "epoch": [epoch for epoch, _ in marks],
            "number": [mark.number for _, mark in marks],
            "boot_id": [mark.boot_id for _, mark in marks],
            "committed_ns": [mark.committed_ns for _, mark in marks],
        }


def load(writer: Writer) -> Ledger:
    """Read the ledger; after a commit that may have failed this alone tells what is stored."""
    rows = writer.rows("SELECT epoch, number, boot_id, committed_ns FROM batch_ledger")
    return Ledger({epoch: Mark(number, boot, at) for epoch, number, boot, at in rows})
