"""What answers hold in memory: the lineage of runs and the classes of paths, as the tables grow.

Reads only. Requests run on several threads: whatever walks the graph does so under its lock.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from whence_collector.edge_arrays import PIPE_NS
from whence_collector.lineage import Lineage
from whence_collector.path_classes import PathClasses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whence_collector.reached import Closure
    from whence_collector.store import Reader

COUNTED = "SELECT (SELECT max(revision) FROM lineage_revision), count(*) FROM run_dependency"
NEW_EDGES = """
SELECT rowid, child_run_id, parent_run_id, coalesce(read_ns, 0) AS read_ns,
    coalesce(written_ns, ?) AS written_ns
FROM run_dependency WHERE rowid > ?
"""


class Graph:
    """A Lineage that follows its table, and the PathClasses; merges of runs make it load anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = -1
        self._last_row = -1
        self._edges = 0
        self._lineage = Lineage()
        self.classes = PathClasses()

    def follow(self, reader: Reader) -> None:
        """Take in what the reader's state has and memory has not; begins every answer."""
        with self._lock:
            self.classes.follow(reader)
            revision, edges = reader.rows(COUNTED)[0]
            if revision != self._revision:
                self._begin_anew(revision)
            if edges != self._edges:
                self._load(reader)
            if edges != self._edges:  # rows got other numbers when the file was compacted
                self._begin_anew(revision)
                self._load(reader)

    def upstream(self, starts: Mapping[str, int]) -> Closure:
        """Return the runs that the starts came from: see Lineage.upstream."""
        with self._lock:
            return self._lineage.upstream(starts)

    def downstream(self, starts: Mapping[str, int]) -> Closure:
        """Return the runs that came from the starts: see Lineage.downstream."""
        with self._lock:
            return self._lineage.downstream(starts)

    def _begin_anew(self, revision: int) -> None:
        self._lineage, self._last_row, self._edges = Lineage(), -1, 0
        self._revision = revision

    def _load(self, reader: Reader) -> None:
        new = reader.arrays(NEW_EDGES, (PIPE_NS, self._last_row))
        if len(new["rowid"]):
            self._lineage.add_all(
                new["child_run_id"].tolist(),
                new["parent_run_id"].tolist(),
                new["read_ns"],
                new["written_ns"],
            )
            self._last_row = int(new["rowid"].max())
            self._edges += len(new["rowid"])
