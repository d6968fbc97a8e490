"""Who wrote and read which content: an index in memory over dense ids, and the edges it tells.

Pure; columns are indexed by id, so ids must be dense. Times are Unix ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from whence_collector.resolved import AccessColumns

Ints = npt.NDArray[np.int64]

READ, WRITE, EXECUTE, MAP, TRUNCATE = 1, 2, 3, 4, 5  # whence.v1.AccessOp
MAY_WRITE = 2  # whence.v1.AccessFlag
SAME_CONTENT_FLOOR_BYTES = 64  # equal content says little of files as small as this
PRODUCERS_PER_CONTENT = 16  # the latest ones; contents made over and over say no more
NEVER = np.iinfo(np.int64).max


class Column:
    """An int64 per id, growing as ids do."""

    def __init__(self, empty: int = 0) -> None:
        self._empty = empty
        self._values = np.full(1024, empty, np.int64)

    def reach(self, highest: int) -> Ints:
        """Return the values, long enough to be indexed by highest."""
        if highest >= len(self._values):
            grown = np.full(max(highest + 1, 2 * len(self._values)), self._empty, np.int64)
            grown[: len(self._values)] = self._values
            self._values = grown
        return self._values

    def get(self, at: int) -> int:
        """Return one value."""
        return int(self._values[at]) if at < len(self._values) else self._empty


class Groups:
    """Several values per id, where nearly every id has one: the first in a column."""

    def __init__(self) -> None:
        self._first = Column()
        self._more: dict[int, list[int]] = {}

    def add(self, at: int, value: int) -> bool:
        """Add a value; False when it is there already."""
        if value in self.get(at):
            return False
        first = self._first.reach(at)
        if first[at] == 0:
            first[at] = value
        else:
            self._more.setdefault(at, []).append(value)
        return True

    def get(self, at: int) -> list[int]:
        """Return the values of an id in the order in which they came."""
        first = self._first.get(at)
        return [first, *self._more.get(at, ())] if first else []

    def firsts(self, highest: int) -> Ints:
        """Return the column of first values, 0 for none."""
        return self._first.reach(highest)


@dataclass(frozen=True, slots=True)
class Read:
    """A program's first read of a file version."""

    process_id: int
    version_id: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Link:
    """Read by one program, written by another; version_id is the one that was read."""

    reader_id: int
    writer_id: int
    version_id: int
    artifact_id: int | None
    strength: str
    read_ns: int
    written_ns: int


@dataclass(frozen=True, slots=True)
class Late:
    """What a batch made known of versions that were read in earlier batches.

    since_ns is a lower bound of those reads.
    """

    version_ids: frozenset[int]
    since_ns: int


def is_write(op: Ints, flags: Ints) -> npt.NDArray[np.bool_]:
    """Tell which accesses change content; a shared writable mapping counts as one."""
    mapped: npt.NDArray[np.bool_] = np.not_equal(flags & MAY_WRITE, 0)
    return mapped | np.isin(op, (WRITE, TRUNCATE))


def is_read(op: Ints) -> npt.NDArray[np.bool_]:
    """Tell which accesses take content in."""
    return np.isin(op, (READ, MAP, EXECUTE))


class EdgeIndex:
    """Writers and contents of versions; tells the links of reads."""

    def __init__(self) -> None:
        self._writers = Groups()
        self._first_write = Column(NEVER)
        self._last_write = Column()
        self._first_seen = Column(NEVER)
        self._was_read = Column()
        self._linked = Column()
        self._artifact = Column()
        self._versions_of = Groups()

    # What comes in ------------------------------------------------------------

    def add_writes(self, process_id: Ints, version_id: Ints, first_ns: Ints, last_ns: Ints) -> None:
        """Take in writes: equally long columns."""
        if not len(version_id):
            return
        highest = int(version_id.max())
        firsts = self._writers.firsts(highest)
        unknown = firsts[version_id] == 0
        firsts[version_id[unknown]] = process_id[unknown]
        for row in np.flatnonzero(firsts[version_id] != process_id):
            self._writers.add(int(version_id[row]), int(process_id[row]))
        np.minimum.at(self._first_write.reach(highest), version_id, first_ns)
        np.maximum.at(self._last_write.reach(highest), version_id, last_ns)

    def add_digest(self, version_id: int, artifact_id: int, size_bytes: int) -> None:
        """Take in what a version holds; small contents tell no origin and are left out."""
        self._artifact.reach(version_id)[version_id] = artifact_id
        if size_bytes > SAME_CONTENT_FLOOR_BYTES:
            self._versions_of.add(artifact_id, version_id)

    def add_accesses(self, accesses: AccessColumns) -> tuple[list[Read], Late, list[int]]:
        """Take in a batch's accesses.

        Returns reads that have an origin, versions read in earlier batches whose writer only
        came now, and linked versions that were written on since.
        """
        if not len(accesses.version_id):
            return [], Late(frozenset(), 0), []
        versions, highest = accesses.version_id, int(accesses.version_id.max())
        writes, reads = is_write(accesses.op, accesses.flags), is_read(accesses.op)
        written = versions[writes]
        new = (self._writers.firsts(highest)[written] == 0) & (
            self._was_read.reach(highest)[written] != 0
        )
        late_ids = frozenset(int(each) for each in written[new])
        grown = self._grown(written, accesses.last_unix_ns[writes], highest)
        self.add_writes(
            accesses.process_id[writes],
            written,
            accesses.first_unix_ns[writes],
            accesses.last_unix_ns[writes],
        )
        np.minimum.at(self._first_seen.reach(highest), versions, accesses.first_unix_ns)
        self._was_read.reach(highest)[versions[reads]] = 1
        since = min((self._first_seen.get(each) for each in late_ids), default=0)
        return self._with_origin(accesses, reads, highest), Late(late_ids, since), grown

    def _grown(self, written: Ints, last_ns: Ints, highest: int) -> list[int]:
        linked = self._linked.reach(highest)[written] != 0
        later = last_ns > self._last_write.reach(highest)[written]
        return sorted({int(each) for each in written[linked & later]})

    def _with_origin(
        self, accesses: AccessColumns, reads: npt.NDArray[np.bool_], highest: int
    ) -> list[Read]:
        versions = accesses.version_id
        writer = self._writers.firsts(highest)[versions]
        artifact = self._artifact.reach(highest)[versions]
        first_of = self._versions_of.firsts(int(artifact.max()))[artifact]
        copies = (artifact != 0) & (first_of != 0) & (first_of != versions)
        rows = np.flatnonzero(reads & ((writer != 0) | copies))
        return [
            Read(
                int(accesses.process_id[row]), int(versions[row]), int(accesses.first_unix_ns[row])
            )
            for row in rows
        ]

    def late_digests(self, version_ids: Iterable[int]) -> Late:
        """Return the versions whose readers have to be looked at again, now that digests came.

        A version's content may have been made before under another version (then its own
        readers count), or it may be the origin of others (then theirs do).
        """
        wanted: set[int] = set()
        for version_id in version_ids:
            versions = self._versions_of.get(self._artifact.get(version_id))
            if len(versions) > 1 and any(self._writers.get(each) for each in versions):
                wanted.update(each for each in versions if not self._writers.get(each))
        wanted = {each for each in wanted if self._was_read.get(each)}
        return Late(
            frozenset(wanted), min((self._first_seen.get(each) for each in wanted), default=0)
        )

    # What it tells ------------------------------------------------------------

    def links(self, read: Read) -> Iterator[Link]:
        """Yield what a read links to: its version's writers, else earlier ones of its content."""
        artifact_id = self._artifact.get(read.version_id)
        writers = self._writers.get(read.version_id)
        if writers:
            written_ns = self._last_write.get(read.version_id)
            for writer in writers:
                yield Link(
                    read.process_id,
                    writer,
                    read.version_id,
                    artifact_id or None,
                    "same-version",
                    read.at_ns,
                    written_ns,
                )
            return
        for version_id in self._made_before(artifact_id, read.at_ns):
            for writer in self._writers.get(version_id):
                yield Link(
                    read.process_id,
                    writer,
                    read.version_id,
                    artifact_id,
                    "same-content",
                    read.at_ns,
                    self._last_write.get(version_id),
                )

    def mark_linked(self, version_id: int) -> None:
        """Remember that edges of a version are stored, so that later writes correct them."""
        self._linked.reach(version_id)[version_id] = 1

    def last_write_ns(self, version_id: int) -> int:
        """Return when a version was written last."""
        return self._last_write.get(version_id)

    def _made_before(self, artifact_id: int, at_ns: int) -> list[int]:
        made = [
            (self._last_write.get(each), each)
            for each in self._versions_of.get(artifact_id)
            if self._writers.get(each) and self._last_write.get(each) < at_ns
        ]
        return [version_id for _, version_id in sorted(made)[-PRODUCERS_PER_CONTENT:]]

    # After a restart ----------------------------------------------------------

    def restore_seen(self, version_id: Ints, first_ns: Ints, was_read: Ints) -> None:
        """Take in, per version, when it was seen first and whether it was read (0 or 1)."""
        if len(version_id):
            highest = int(version_id.max())
            self._first_seen.reach(highest)[version_id] = first_ns
            self._was_read.reach(highest)[version_id] = was_read

    def restore_linked(self, version_id: Ints) -> None:
        """Take in versions that have edges."""
        if len(version_id):
            self._linked.reach(int(version_id.max()))[version_id] = 1
