"""The batches of one transaction, laid one behind the other.

Each batch has dictionaries of its own and columns that index them from 1. Here the dictionaries
follow each other, each with a place for "not known" before it, and a column's indexes are moved to
its batch's part: so a few long operations stand for many short ones. Pure; knows no ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from whence_collector.check import Checked
    from whence_collector.hosts import Origin

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


class Part:
    """One dictionary of every batch: where each batch's part begins, in the whole."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = np.array(sizes, np.int64)
        self.starts: Ints = np.cumsum(self.sizes + 1) - self.sizes - 1
        self.length = int(self.sizes.sum()) + len(sizes)

    def spread(self, values: Ints) -> Ints:
        """Put a value for each entry to its place; at each batch's start stands 0, not known."""
        found = np.zeros(self.length, np.int64)
        known = np.ones(self.length, np.bool_)
        known[self.starts] = False
        found[known] = values
        return found

    def of(self, at: int) -> slice:
        """Return the part of one batch, "not known" first."""
        start = int(self.starts[at])
        return slice(start, start + int(self.sizes[at]) + 1)


class Stack:
    """Checked batches in order, and where each comes from."""

    def __init__(self, batches: Sequence[Checked], origins: Sequence[Origin]) -> None:
        self.batches = batches
        self.origins = origins
        self.texts: list[str | None] = []
        text_sizes = []
        for each in batches:
            before = len(self.texts)
            self.texts.append(None)
            self.texts.extend(each.message.strings)
            text_sizes.append(len(self.texts) - before - 1)
        self.text = Part(text_sizes)
        self.process = Part([len(each.message.process_keys.tgid) for each in batches])
        self.file = Part([len(each.message.file_versions.device) for each in batches])
        self.zero_ns: Ints = np.array(
            [each.message.base_ns + each.message.wall_offset_ns for each in batches], np.int64
        )

    def rows(self, table: str) -> Ints:
        """Return how many rows of a table each batch has; for tables that are arrays."""
        first = {"accesses": "process", "digests": "file"}[table]
        found = [len(each.arrays.get(table, {}).get(first, ())) for each in self.batches]
        return np.array(found, np.int64)

    def column(self, table: str, name: str) -> npt.NDArray[Any]:
        """Return a column of all batches as it was sent."""
        parts = [each.arrays[table][name] for each in self.batches if table in each.arrays]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def indexes(self, table: str, name: str, part: Part) -> Ints:
        """Return a column of indexes, moved to where its dictionary is in the whole."""
        return self.column(table, name) + np.repeat(part.starts, self.rows(table))

    def times(self, table: str, name: str) -> Ints:
        """Return a column of times, in Unix nanoseconds."""
        return self.column(table, name) + np.repeat(self.zero_ns, self.rows(table))

    def process_keys(self) -> Keys:
        """Return the identity of each process that the batches name, as identity.PROCESSES."""
        boots = np.array([each.boot_id for each in self.origins])
        return _keys(
            np.repeat(boots, self.process.sizes),
            *(self.column("process_keys", name) for name in ("tgid", "start_ns", "image")),
        )

    def version_keys(self) -> Keys:
        """Return the identity of each file version that the batches name, as identity.VERSIONS.

        The capture belongs to it: a daemon that starts again counts versions from 0 again.
        """
        names = ("device", "inode", "generation", "version")
        boots = np.array([each.boot_id for each in self.origins])
        captures = np.array([each.capture_id for each in self.origins])
        return _keys(
            np.repeat(boots, self.file.sizes),
            np.repeat(captures, self.file.sizes),
            *(self.column("file_versions", name) for name in names),
        )

    def path_positions(self) -> Ints:
        """Return the places of the texts that are used as the path of a file."""
        used = np.zeros(self.text.length, np.bool_)
        for table in ("accesses", "digests"):
            used[self.indexes(table, "path_text", self.text)] = True
        for each, start in zip(self.batches, self.text.starts.tolist(), strict=True):
            if each.message.HasField("name_changes"):
                names = each.message.name_changes
                for column in (names.path_text, names.new_path_text):
                    used[np.array(column, np.int64) + start] = True
        used[self.text.starts] = False
        return np.flatnonzero(used)

    def texts_at(self, positions: Ints) -> list[str]:
        """Return the texts at known places."""
        texts = self.texts
        return [texts[at] or "" for at in positions.tolist()]


def _keys(*columns: npt.NDArray[Any]) -> Keys:
    keys = np.empty((len(columns[0]), len(columns)), np.uint64)
    for at, column in enumerate(columns):
        keys[:, at] = column
    return keys
