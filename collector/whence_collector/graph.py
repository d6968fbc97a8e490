"""The lineage graph that answers walk: loaded from run_dependency, kept current by its new rows.

Reads only; used by one thread at a time under its own lock.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from whence_collector.lineage import Edge, Lineage

if TYPE_CHECKING:
    from whence_collector.store import Reader

NEW_EDGES = """
SELECT rowid, child_run_id, parent_run_id, coalesce(read_ns, 0), written_ns
FROM run_dependency WHERE rowid > ? ORDER BY rowid
"""


class Graph:
    """A Lineage that follows the table; merges of runs make it load anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = -1
        self._last_row = -1
        self._lineage = Lineage()

    def current(self, reader: Reader) -> Lineage:
        """Return the graph as the reader's state has it."""
        with self._lock:
            revision = int(reader.rows("SELECT max(revision) FROM lineage_revision")[0][0])
            if revision != self._revision:
                self._lineage, self._last_row = Lineage(), -1
                self._revision = revision
            for rowid, child, parent, read_ns, written_ns in reader.rows(
                NEW_EDGES, (self._last_row,)
            ):
                self._lineage.add(Edge(child, parent, read_ns, written_ns))
                self._last_row = rowid
            return self._lineage
