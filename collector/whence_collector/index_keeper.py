"""When the edge index is put on disk: after so many accesses, and when the collector stops."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from whence_collector import index_file

if TYPE_CHECKING:
    from pathlib import Path

    from whence_collector.edges import EdgeIndex
    from whence_collector.index_file import Kept
    from whence_collector.store import Reader

#: What a start after a crash reads anew at most, in well under a second.
EVERY_ACCESSES = 4_000_000


class IndexKeeper:
    """Counts accesses and writes the file on a thread of its own; used by the writer thread."""

    def __init__(self, path: Path | None) -> None:
        """Keep the index at a path, or nowhere."""
        self._path = path
        self._new = 0
        self._writing: threading.Thread | None = None

    def load(self, reader: Reader) -> Kept | None:
        """Return what was kept of this database."""
        return index_file.load(self._path, reader) if self._path else None

    def count(self, accesses: int) -> None:
        """Note that accesses came in."""
        self._new += accesses

    def look(self, index: EdgeIndex, reader: Reader) -> None:
        """Write the index if it is time; it must be what the reader's state holds."""
        if self._new >= EVERY_ACCESSES and not (self._writing and self._writing.is_alive()):
            self._write(index, reader)

    def close(self, index: EdgeIndex, reader: Reader) -> None:
        """Write the index for the next start, if anything came since."""
        if self._writing:
            self._writing.join()
        if self._new:
            self._write(index, reader)
        if self._writing:
            self._writing.join()

    def _write(self, index: EdgeIndex, reader: Reader) -> None:
        if self._path is None:
            return
        # Copies: the index goes on growing while the disk works.
        what = (self._path, index.columns(), index_file.mark_of(reader))
        self._new = 0
        self._writing = threading.Thread(target=index_file.save, args=what, name="whence-index")
        self._writing.start()
