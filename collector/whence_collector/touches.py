"""What runs read and wrote, worked out of their accesses: inputs, outputs, counts.

load() reads the accesses; all else is arithmetic on columns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whence_collector.edges import NEVER, is_read, is_write
from whence_collector.lookups import among, members_of
from whence_collector.path_classes import NO_CLASS, UNKNOWN, codes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from whence_collector.path_classes import PathClasses
    from whence_collector.store import Reader

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

EXECUTE = 3  # whence.v1.AccessOp
ACCESSES_READ = 2_000_000  # of one question; what lies beyond is left out and said to be
ACCESSES = """
SELECT process_id, version_id, path_id::BIGINT AS path_id, op::BIGINT AS op, bytes,
    first_unix_ns, last_unix_ns, flags::BIGINT AS flags
FROM access
"""


@dataclass(frozen=True, slots=True)
class Sides:
    """File versions on one side of runs, oldest first: equally long columns, times in Unix ns.

    run is an index into Touches.run_ids, class_code into CLASSES.
    """

    run: Ints
    version_id: Ints
    path_id: Ints
    class_code: Ints
    bytes: Ints
    first_ns: Ints
    last_ns: Ints

    def __len__(self) -> int:
        return len(self.run)

    def only(self, chosen: Flags | Ints | slice) -> Sides:
        """Return the chosen rows."""
        return Sides(
            self.run[chosen],
            self.version_id[chosen],
            self.path_id[chosen],
            self.class_code[chosen],
            self.bytes[chosen],
            self.first_ns[chosen],
            self.last_ns[chosen],
        )


@dataclass(frozen=True, slots=True)
class Touches:
    """Accesses of some runs: equally long columns; run is an index into run_ids."""

    run_ids: list[str]
    run: Ints
    version_id: Ints
    path_id: Ints
    op: Ints
    bytes: Ints
    first_ns: Ints
    last_ns: Ints
    flags: Ints
    own_class: Ints  # of the path, NO_CLASS where it is no content
    executed_class: Ints  # of the path, had it been executed
    truncated: bool

    def index(self, run_id: str) -> int:
        """Return the index of a run."""
        return self.run_ids.index(run_id)

    def inputs(
        self, bounds: Mapping[str, int], classes: Collection[str], *, as_one: bool = False
    ) -> Sides:
        """Return what runs read up to their bounds (Unix ns) and had not made before.

        as_one takes the runs as one: what one of them wrote is no input of another.
        """
        bound = np.array([bounds.get(each, -1) for each in self.run_ids], np.int64)
        wanted = codes_of(classes)
        rows = np.flatnonzero(
            (self.first_ns <= bound[self.run])
            & (wanted[self.own_class] | wanted[self.executed_class])
        )
        key = self.version_id if as_one else self._keys()
        sides, keys = self._read(rows, key)
        made_ns = self._first_write(rows, key, keys)
        sides = sides.only((sides.first_ns < made_ns) & wanted[sides.class_code])
        return sides.only(np.lexsort((sides.version_id, sides.first_ns)))

    def readings(self) -> Sides:
        """Return everything that runs read, what they had made themselves too."""
        rows = np.flatnonzero(self.own_class != NO_CLASS)
        return self._read(rows, self._keys())[0]

    def _keys(self) -> Ints:
        """Return a number for each pair of version and run."""
        return self.version_id * len(self.run_ids) + self.run

    def _read(self, rows: Ints, key: Ints) -> tuple[Sides, Ints]:
        """Return the reads among rows, those of one key added up, and the key of each."""
        reads = rows[is_read(self.op[rows])]
        reads = reads[np.lexsort((self.first_ns[reads], key[reads]))]
        if not len(reads):
            return self._sides(reads, reads, reads, reads), reads
        begins = _begins(key[reads])
        first = reads[begins]
        executed = np.logical_or.reduceat(self.op[reads] == EXECUTE, begins)
        sides = self._sides(
            first,
            np.where(executed, self.executed_class[first], self.own_class[first]),
            np.add.reduceat(self.bytes[reads], begins),
            np.maximum.reduceat(self.last_ns[reads], begins),
        )
        return sides, key[first]

    def outputs(self, run_ids: Collection[str]) -> Sides:
        """Return what runs wrote, under the name of the last write."""
        chosen = np.isin(self.run, [self.index(each) for each in run_ids])
        writes = np.flatnonzero(
            chosen & is_write(self.op, self.flags) & (self.own_class != NO_CLASS)
        )
        key = self._keys()
        writes = writes[np.lexsort((self.last_ns[writes], key[writes]))]
        if not len(writes):
            return self._sides(writes, writes, writes, writes)
        begins = _begins(key[writes])
        last = writes[np.append(begins[1:], len(writes)) - 1]
        sides = self._sides(
            last,
            self.own_class[last],
            np.add.reduceat(self.bytes[writes], begins),
            self.last_ns[last],
            np.minimum.reduceat(self.first_ns[writes], begins),
        )
        return sides.only(np.lexsort((sides.path_id, sides.first_ns)))

    def counts(self, run_id: str) -> tuple[int, int]:
        """Return how many versions a run only read, and how many it wrote."""
        mine = (self.run == self.index(run_id)) & (self.own_class != NO_CLASS)
        written = np.unique(self.version_id[mine & is_write(self.op, self.flags)])
        read = np.unique(self.version_id[mine & is_read(self.op)])
        return len(np.setdiff1d(read, written, assume_unique=True)), len(written)

    def _first_write(self, rows: Ints, key: Ints, asked: Ints) -> Ints:
        """Return when the asked keys were written first among the rows, NEVER where not."""
        writes = rows[is_write(self.op[rows], self.flags[rows])]
        keys, group = np.unique(key[writes], return_inverse=True)
        first = np.full(len(keys) + 1, NEVER)
        np.minimum.at(first, group, self.first_ns[writes])
        at = np.searchsorted(keys, asked)
        found = np.append(keys, -1)[at] == asked
        return np.where(found, first[at], NEVER)

    def _sides(
        self, rows: Ints, code: Ints, moved: Ints, last_ns: Ints, first_ns: Ints | None = None
    ) -> Sides:
        return Sides(
            self.run[rows],
            self.version_id[rows],
            self.path_id[rows],
            code,
            moved,
            self.first_ns[rows] if first_ns is None else first_ns,
            last_ns,
        )


def load(reader: Reader, classes: PathClasses, run_ids: Collection[str]) -> Touches:
    """Read the accesses of runs, at most ACCESSES_READ of them."""
    ordered = list(run_ids)
    position = {run_id: nth for nth, run_id in enumerate(ordered)}
    members = members_of(reader, ordered)
    process_ids = np.array(sorted(members), np.int64)
    run_of = np.array([position[members[each]] for each in process_ids.tolist()], np.int64)
    found = _accesses(reader, process_ids.tolist())
    own, executed = classes.of(found["path_id"])
    known = own != UNKNOWN
    return Touches(
        run_ids=ordered,
        run=run_of[np.searchsorted(process_ids, found["process_id"][known])],
        version_id=found["version_id"][known],
        path_id=found["path_id"][known],
        op=found["op"][known],
        bytes=found["bytes"][known],
        first_ns=found["first_unix_ns"][known],
        last_ns=found["last_unix_ns"][known],
        flags=found["flags"][known],
        own_class=own[known],
        executed_class=executed[known],
        truncated=len(known) >= ACCESSES_READ,
    )


def _accesses(reader: Reader, process_ids: list[int]) -> dict[str, Any]:
    condition, params = among("process_id", process_ids or [0])
    return reader.arrays(f"{ACCESSES} WHERE {condition} LIMIT {ACCESSES_READ}", params)


def _begins(ordered: Ints) -> Ints:
    """Return where each group of equal values begins."""
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def joined(parts: Sequence[Sides]) -> Sides:
    """Return the rows of all parts, one after the other."""
    names = [each.name for each in fields(Sides)]
    if not parts:
        return Sides(*([np.zeros(0, np.int64)] * len(names)))
    return Sides(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
