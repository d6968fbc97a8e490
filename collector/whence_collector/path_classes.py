"""The class of every path, two bytes each, following table path_class, which only grows.

Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whence_collector.classes import CLASSES
from whence_collector.id_columns import Column

if TYPE_CHECKING:
    from collections.abc import Collection

    from whence_collector.store import Reader

Ints = npt.NDArray[np.int64]

NO_CLASS = len(CLASSES)  # of a path that is no content
UNKNOWN = NO_CLASS + 1  # of a path that is not classified, or not known
NEW = f"""
SELECT path_id::BIGINT AS path_id,
    coalesce(list_position($1, class), {NO_CLASS + 1}) - 1 AS own,
    coalesce(list_position($1, executed_class), {NO_CLASS + 1}) - 1 AS executed
FROM path_class WHERE path_id > $2
"""  # noqa: S608 -- a number of ours


class PathClasses:
    """Codes of classes by path_id: an index into CLASSES, NO_CLASS or UNKNOWN."""

    def __init__(self) -> None:
        self._own = Column(UNKNOWN, np.int8)
        self._executed = Column(UNKNOWN, np.int8)
        self._highest = 0

    def follow(self, reader: Reader) -> None:
        """Take in the paths that came since the last call."""
        new = reader.arrays(NEW, (list(CLASSES), self._highest))
        path_ids = new["path_id"]
        if len(path_ids):
            self._highest = int(path_ids.max())
            self._own.reach(self._highest)[path_ids] = new["own"]
            self._executed.reach(self._highest)[path_ids] = new["executed"]

    def of(self, path_ids: Ints) -> tuple[Ints, Ints]:
        """Return the class of each path, and its class when executed."""
        highest = int(path_ids.max(initial=0))
        own, executed = self._own.reach(highest), self._executed.reach(highest)
        return own[path_ids].astype(np.int64), executed[path_ids].astype(np.int64)


def codes_of(classes: Collection[str]) -> npt.NDArray[np.bool_]:
    """Return, by code, whether it is one of the classes."""
    return np.array([*(name in classes for name in CLASSES), False, False])
