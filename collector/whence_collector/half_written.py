"""Half-written versions, and the version that each of them became.

A reader that saw a file while it was written has a version of its own, whose bytes nobody can hash
any more. It shares boot, capture, file and epoch with the version that the writers have.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from whence_collector.edges import EdgeIndex
    from whence_collector.store import Row, Writer

# A version on the wire: above its low 16 bits the epoch, in bit 15 whether it is half-written
# (daemon/whenced/file_state.py).
NEW_HALVES = """
SELECT version_id, boot_id, capture_id, device, inode, generation, version >> 16
FROM file_version WHERE version_id > ? AND version_id <= ? AND version & 32768 != 0
"""
SAME_EPOCH = """
SELECT w.half_id, v.version_id
FROM file_version v
JOIN wanted w USING (boot_id, capture_id, device, inode, generation)
WHERE v.version >> 16 = w.epoch AND v.version & 32768 = 0 AND v.version_id > w.after_id
"""
KEY_COLUMNS = ("boot_id", "capture_id", "device", "inode", "generation", "epoch")
WAITING_KEPT = 4096


class HalfWritten:
    """The half-written versions whose writers are not known yet; only the newest are waited for."""

    def __init__(self, writer: Writer) -> None:
        found = writer.rows("SELECT coalesce(max(version_id), 0) FROM file_version")
        self._seen_id = int(found[0][0])
        self._waiting: OrderedDict[int, Row] = OrderedDict()  # half_id -> its key
        self._candidates: dict[int, list[int]] = {}  # half_id -> versions of its epoch

    def follow(self, highest_id: int, index: EdgeIndex, writer: Writer) -> list[int]:
        """Take in versions up to an id; return those halves whose writers are known from now on."""
        if highest_id <= self._seen_id and not self._waiting:
            return []
        low_id, self._seen_id = self._seen_id, max(self._seen_id, highest_id)
        new = writer.rows(NEW_HALVES, (low_id, self._seen_id))
        for half_id, *key in new:
            self._waiting[half_id] = tuple(key)
            self._candidates[half_id] = []
        if self._waiting:
            self._look_up({half_id for half_id, *_ in new}, low_id, writer)
        while len(self._waiting) > WAITING_KEPT:
            self._forget(next(iter(self._waiting)))
        return self._resolved(index)

    def _look_up(self, new: set[int], low_id: int, writer: Writer) -> None:
        """Find versions of the same epochs: all for new halves, only new ones for the others."""
        columns = dict(zip(KEY_COLUMNS, zip(*self._waiting.values(), strict=True), strict=True))
        wanted = {
            "half_id": np.array(list(self._waiting), np.int64),
            "after_id": np.array([0 if each in new else low_id for each in self._waiting]),
        } | {name: np.array(values, np.uint64) for name, values in columns.items()}
        for half_id, version_id in writer.rows_with(wanted, SAME_EPOCH):
            self._candidates[half_id].append(version_id)

    def _resolved(self, index: EdgeIndex) -> list[int]:
        found = []
        for half_id in list(self._waiting):
            written = [each for each in self._candidates[half_id] if index.is_written(each)]
            if written:
                index.add_half(half_id, written[-1])
                found.append(half_id)
        self._forget(*found)
        return found

    def _forget(self, *half_ids: int) -> None:
        for half_id in half_ids:
            del self._waiting[half_id], self._candidates[half_id]
