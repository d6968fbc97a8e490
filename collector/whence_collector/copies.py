"""Which versions hold a content, and whether anybody is known to have made it.

Pure. A library file is one content with a version on each host of a fleet, so a content may have
thousands: nothing here looks at them one by one.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.id_columns import Column

Ints = npt.NDArray[np.int64]
_NONE: Ints = np.zeros(0, np.int64)


class Copies:
    """Versions by content, in the order in which they came."""

    def __init__(self) -> None:
        self._first = Column()
        self._several, self._made = Column(of=np.int8), Column(of=np.int8)
        self._more: dict[int, array[int]] = {}

    def add(self, artifact_id: Ints, version_id: Ints) -> None:
        """Add versions that are not among those of the content yet, each once."""
        if not len(artifact_id):
            return
        first = self._first.reach(int(artifact_id.max()))
        ids, earliest = np.unique(artifact_id, return_index=True)
        empty = first[ids] == 0
        first[ids[empty]] = version_id[earliest[empty]]
        further = first[artifact_id] != version_id
        several = self._several.reach(int(artifact_id.max()))
        several[artifact_id[further]] = 1
        pairs = zip(artifact_id[further].tolist(), version_id[further].tolist(), strict=True)
        for at, value in pairs:
            self._more.setdefault(at, array("q")).append(value)

    def mark_made(self, artifact_id: Ints) -> None:
        """Take in that a version of each of the contents was written by a known program."""
        if len(artifact_id):
            self._made.reach(int(artifact_id.max()))[artifact_id] = 1

    def of(self, artifact_id: int) -> Ints:
        """Return the versions of a content; the answer is a copy."""
        first = self._first.get(artifact_id)
        if not first:
            return _NONE
        more = self._more.get(artifact_id)
        head = np.array([first], np.int64)
        return np.concatenate((head, np.frombuffer(more, np.int64))) if more else head

    def made_elsewhere(self, artifact_id: Ints) -> npt.NDArray[np.bool_]:
        """Tell which contents have several versions, one of them made by a known program."""
        highest = int(artifact_id.max(initial=0))
        several: npt.NDArray[Any] = self._several.reach(highest)[artifact_id]
        made: npt.NDArray[Any] = self._made.reach(highest)[artifact_id]
        found: npt.NDArray[np.bool_] = (several != 0) & (made != 0) & (artifact_id != 0)
        return found
