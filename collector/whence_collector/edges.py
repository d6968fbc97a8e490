"""Who wrote and read which content: an index in memory over dense ids, and the edges it tells.

Pure; columns are indexed by id, so ids must be dense. Times are Unix ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whence_collector.copies import Copies
from whence_collector.id_columns import Column, Groups, Ints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from whence_collector.resolved import AccessColumns

READ, WRITE, EXECUTE, MAP, TRUNCATE = 1, 2, 3, 4, 5  # whence.v1.AccessOp
MAY_WRITE = 2  # whence.v1.AccessFlag
SAME_CONTENT_FLOOR_BYTES = 64  # equal content says little of files as small as this
PRODUCERS_PER_CONTENT = 16  # the latest ones; contents made over and over say no more
NEVER = np.iinfo(np.int64).max
_WRITES: npt.NDArray[np.bool_] = np.isin(np.arange(1 + TRUNCATE), (WRITE, TRUNCATE))  # by op
_READS: npt.NDArray[np.bool_] = np.isin(np.arange(1 + TRUNCATE), (READ, MAP, EXECUTE))

STRENGTHS = ("same-version", "same-content", "same-file-torn")
SAME_VERSION, SAME_CONTENT, SAME_FILE_TORN = range(3)


@dataclass(frozen=True, slots=True)
class Reads:
    """First reads of file versions by programs: equally long columns."""

    process_id: Ints
    version_id: Ints
    at_ns: Ints

    def __len__(self) -> int:
        return len(self.process_id)


@dataclass(frozen=True, slots=True)
class Links:
    """Read by one program, written by another; version_id is the one that was read.

    Equally long columns: artifact_id is 0 where unknown, strength an index into STRENGTHS.
    """

    reader_id: Ints
    writer_id: Ints
    version_id: Ints
    artifact_id: Ints
    strength: Ints
    read_ns: Ints
    written_ns: Ints

    def __len__(self) -> int:
        return len(self.reader_id)


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
    return mapped | _WRITES[op]


def is_read(op: Ints) -> npt.NDArray[np.bool_]:
    """Tell which accesses take content in."""
    return _READS[op]


class EdgeIndex:
    """Writers and contents of versions; tells the links of reads."""

    def __init__(self) -> None:
        self._writers = Groups()
        self._last_write = Column()
        self._first_seen = Column(NEVER)
        self._was_read = Column(of=np.int8)
        self._linked = Column(of=np.int8)
        self._artifact = Column()
        self._copies = Copies()
        self._half_of = Column()  # of a half-written version: the one that it became
        self._halves: dict[int, list[int]] = {}
        self._carriers = Column(of=np.int8)  # programs that only pass on what they write

    # What comes in ------------------------------------------------------------

    def add_writes(self, process_id: Ints, version_id: Ints, last_ns: Ints) -> None:
        """Take in writes: equally long columns."""
        if len(version_id):
            self._writers.add_all(version_id, process_id)
            highest = int(version_id.max())
            np.maximum.at(self._last_write.reach(highest), version_id, last_ns)
            self._copies.mark_made(self._artifact.reach(highest)[version_id])

    def add_carriers(self, process_ids: Sequence[int]) -> None:
        """Take in which programs only pass on what they write (carriers.py)."""
        if process_ids:
            self._carriers.reach(max(process_ids))[np.array(process_ids, np.int64)] = 1

    def add_digests(self, version_id: Ints, artifact_id: Ints, size_bytes: Ints) -> None:
        """Take in what versions hold; small contents tell no origin and are left out."""
        if not len(version_id):
            return
        highest = int(version_id.max())
        column = self._artifact.reach(highest)
        news = (size_bytes > SAME_CONTENT_FLOOR_BYTES) & (column[version_id] != artifact_id)
        _, earliest = np.unique(np.stack((artifact_id, version_id)), axis=1, return_index=True)
        news &= np.isin(np.arange(len(version_id)), earliest)  # a pair may come twice at once
        column[version_id] = artifact_id
        self._copies.add(artifact_id[news], version_id[news])
        written = self._writers.firsts(highest)[version_id] != 0
        self._copies.mark_made(artifact_id[written])

    def add_half(self, half_id: int, version_id: int) -> None:
        """Take in that a half-written version is one state of what became another version."""
        self._half_of.reach(half_id)[half_id] = version_id
        self._halves.setdefault(version_id, []).append(half_id)

    def add_accesses(self, accesses: AccessColumns) -> tuple[Reads, Late, list[int]]:
        """Take in a batch's accesses.

        Returns the reads that may have an origin, the versions that got their first writer after
        they had been read, and the versions with edges whose last write moved.
        """
        if not len(accesses.version_id):
            return self._with_origin(accesses, np.zeros(0, np.bool_), 0), Late(frozenset(), 0), []
        versions, highest = accesses.version_id, int(accesses.version_id.max())
        known = versions != 0
        writes = is_write(accesses.op, accesses.flags) & known
        reads = is_read(accesses.op) & known
        written = versions[writes]
        new = (self._writers.firsts(highest)[written] == 0) & (
            self._was_read.reach(highest)[written] != 0
        )
        late = set(written[new].tolist())
        held = self._artifact.reach(highest)[written]
        origins = held[(self._writers.firsts(highest)[written] == 0) & (held != 0)]
        grown = self._grown(written, accesses.last_unix_ns[writes], highest)
        self.add_writes(accesses.process_id[writes], written, accesses.last_unix_ns[writes])
        np.minimum.at(self._first_seen.reach(highest), versions, accesses.first_unix_ns)
        self._was_read.reach(highest)[versions[reads]] = 1
        # What was hashed before its write was told may be where other versions come from.
        for artifact_id in set(origins[self._copies.made_elsewhere(origins)].tolist()):
            late.update(self._read_and_free(artifact_id))
        return self._with_origin(accesses, reads, highest), self.read_of(late), grown

    def _grown(self, written: Ints, last_ns: Ints, highest: int) -> list[int]:
        linked = self._linked.reach(highest)[written] != 0
        later = last_ns > self._last_write.reach(highest)[written]
        return sorted(set(written[linked & later].tolist()))

    def _with_origin(
        self, accesses: AccessColumns, reads: npt.NDArray[np.bool_], highest: int
    ) -> Reads:
        rows = np.flatnonzero(reads)
        versions = accesses.version_id[rows]
        copies = self._copies.made_elsewhere(self._artifact.reach(highest)[versions])
        written = self._writers.firsts(highest)[versions] != 0
        rows = rows[written | copies | (self._half_of.reach(highest)[versions] != 0)]
        return Reads(
            accesses.process_id[rows], accesses.version_id[rows], accesses.first_unix_ns[rows]
        )

    def late_digests(self, version_ids: Ints) -> Late:
        """Return the versions whose readers have to be looked at again, now that digests came.

        A version's content may have been made before under another version (then its own
        readers count), or it may be the origin of others (then theirs do).
        """
        highest = int(version_ids.max(initial=0))
        artifacts = self._artifact.reach(highest)[version_ids]
        telling = self._copies.made_elsewhere(artifacts)
        written = self._writers.firsts(highest)[version_ids] != 0
        wanted: set[int] = set(version_ids[telling & self._is_free(version_ids)].tolist())
        for artifact_id in set(artifacts[telling & written].tolist()):
            wanted.update(self._read_and_free(artifact_id))
        return self.read_of(wanted)

    def _is_free(self, versions: Ints) -> npt.NDArray[np.bool_]:
        """Tell which versions nobody is known to have made: unwritten, or only passed on."""
        writers = self._writers.firsts(int(versions.max(initial=0)))[versions]
        free: npt.NDArray[np.bool_] = (writers == 0) | self._carried(writers)
        return free

    def _read_and_free(self, artifact_id: int) -> list[int]:
        """Return the versions of a content that were read and that nobody is known to have made."""
        versions = self._copies.of(artifact_id)
        read = self._was_read.reach(int(versions.max(initial=0)))[versions] != 0
        found: list[int] = versions[read & self._is_free(versions)].tolist()
        return found

    def read_of(self, version_ids: Iterable[int]) -> Late:
        """Return those of the versions that were read, with a lower bound of when."""
        read = frozenset(each for each in version_ids if self._was_read.get(each))
        return Late(read, min((self._first_seen.get(each) for each in read), default=0))

    # What it tells ------------------------------------------------------------

    def is_written(self, version_id: int) -> bool:
        """Tell whether a writer of a version is known."""
        return bool(self._writers.get(version_id))

    def with_halves(self, version_ids: Iterable[int]) -> set[int]:
        """Return the versions, and the half-written ones that became them."""
        found = set(version_ids)
        return found.union(*(self._halves.get(each, ()) for each in found))

    def links(self, reads: Reads) -> Links:
        """Return what reads link to, reads of what the same program wrote left out.

        These are the writers of a version; where none is known, the writers of the file while it
        was in that state, and earlier writers of its content, which count too where the writer
        only passed on what it was handed.
        """
        versions, highest = reads.version_id, int(reads.version_id.max(initial=0))
        first = self._writers.firsts(highest)[versions]
        direct = np.flatnonzero(first)
        several = direct[self._writers.many(highest)[versions[direct]] != 0]
        others = [
            *self._further_writers(reads, several),
            *self._other_origins(reads, np.flatnonzero((first == 0) | self._carried(first))),
        ]
        row, origin, writer, strength = np.array(others, np.int64).reshape(-1, 4).T
        return self._links(
            reads,
            np.concatenate((direct, row)),
            np.concatenate((versions[direct], origin)),
            np.concatenate((first[direct], writer)),
            np.concatenate((np.full(len(direct), SAME_VERSION), strength)),
        )

    def _links(self, reads: Reads, row: Ints, origin: Ints, writer: Ints, strength: Ints) -> Links:
        """Return the links of rows of reads to writers of an origin, a version."""
        crossing = reads.process_id[row] != writer
        row, origin, writer, strength = (each[crossing] for each in (row, origin, writer, strength))
        highest = int(max(reads.version_id.max(initial=0), origin.max(initial=0)))
        read_ns = reads.at_ns[row]
        written_ns = self._last_write.reach(highest)[origin]
        return Links(
            reader_id=reads.process_id[row],
            writer_id=writer,
            version_id=reads.version_id[row],
            artifact_id=self._artifact.reach(highest)[reads.version_id[row]],
            strength=strength,
            read_ns=read_ns,
            # What a half-written file holds was written before it was read.
            written_ns=np.where(
                strength == SAME_FILE_TORN, np.minimum(written_ns, read_ns), written_ns
            ),
        )

    def _carried(self, writers: Ints) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = np.not_equal(
            self._carriers.reach(int(writers.max(initial=0)))[writers], 0
        )
        return found

    def _further_writers(self, reads: Reads, rows: Ints) -> Iterator[tuple[int, int, int, int]]:
        for row in rows.tolist():
            version_id = int(reads.version_id[row])
            for writer in self._writers.get(version_id)[1:]:
                yield row, version_id, writer, SAME_VERSION

    def _other_origins(self, reads: Reads, rows: Ints) -> Iterator[tuple[int, int, int, int]]:
        for row in rows.tolist():
            version_id = int(reads.version_id[row])
            became = self._half_of.get(version_id)
            for writer in self._writers.get(became):
                yield row, became, writer, SAME_FILE_TORN
            artifact_id = self._artifact.get(version_id)
            for origin in self._made_before(artifact_id, version_id, int(reads.at_ns[row])):
                for writer in self._writers.get(origin):
                    yield row, origin, writer, SAME_CONTENT

    def mark_linked(self, version_ids: Ints) -> None:
        """Remember that edges of versions are stored, so that later writes correct them."""
        if len(version_ids):
            self._linked.reach(int(version_ids.max()))[version_ids] = 1

    def last_write_ns(self, version_id: int) -> int:
        """Return when a version was written last."""
        return self._last_write.get(version_id)

    def _made_before(self, artifact_id: int, version_id: int, at_ns: int) -> list[int]:
        """Return where a content was made before; who only passed it on counts where nobody did."""
        versions = self._copies.of(artifact_id)
        highest = int(versions.max(initial=0))
        last_ns = self._last_write.reach(highest)[versions]
        made = (self._writers.firsts(highest)[versions] != 0) & (last_ns < at_ns)
        made &= versions != version_id
        makers = made & ~self._is_free(versions)
        chosen = makers if makers.any() else made
        versions, last_ns = versions[chosen], last_ns[chosen]
        latest: list[int] = versions[np.lexsort((versions, last_ns))].tolist()
        return latest[-PRODUCERS_PER_CONTENT:]

    # After a restart ----------------------------------------------------------

    def columns(self) -> dict[str, Ints]:
        """Return copies of what accesses told, for add_columns()."""
        return {
            "last_write": self._last_write.copy(),
            "first_seen": self._first_seen.copy(),
            "was_read": self._was_read.copy(),
        } | {f"writers_{name}": each for name, each in self._writers.columns().items()}

    def add_columns(self, columns: Mapping[str, Ints]) -> None:
        """Take in what columns() gave; only into an empty index. Raises KeyError."""
        self._last_write.take(columns["last_write"])
        self._first_seen.take(columns["first_seen"])
        self._was_read.take(columns["was_read"])
        prefix = "writers_"
        self._writers.add_columns(
            {name.removeprefix(prefix): columns[name] for name in columns if prefix in name}
        )

    def restore_seen(self, version_id: Ints, first_ns: Ints, was_read: Ints) -> None:
        """Take in, per version, when it was seen first and whether it was read (0 or 1)."""
        if len(version_id):
            highest = int(version_id.max())
            np.minimum.at(self._first_seen.reach(highest), version_id, first_ns)
            np.maximum.at(self._was_read.reach(highest), version_id, was_read.astype(np.int8))
