"""Rows of accesses and digests, and which version a process's counts belong to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced.file_state import Counts
from whenced.record import Flag, Kind
from whenced.rows import AccessRow, DigestRow, text_of

if TYPE_CHECKING:
    from whenced.event import Event, FileKey
    from whenced.file_state import FileState, PendingRead
    from whenced.hash_messages import HashReply
    from whenced.rows import FileVersion, ProcessKey

_STATES: Final = {
    "verified": wire.DIGEST_STATE_VERIFIED,
    "asserted": wire.DIGEST_STATE_ASSERTED,
    "torn": wire.DIGEST_STATE_TORN,
    "unhashed": wire.DIGEST_STATE_UNHASHED,
}
# Kinds of touches, by number: a member of an enumeration is looked up by a call of its own hash.
OPS: Final = {
    int(kind): op
    for kind, op in (
        (Kind.READ, wire.ACCESS_OP_READ),
        (Kind.MAP, wire.ACCESS_OP_MAP),
        (Kind.EXECUTE, wire.ACCESS_OP_EXECUTE),
        (Kind.WRITE, wire.ACCESS_OP_WRITE),
        (Kind.TRUNCATE, wire.ACCESS_OP_TRUNCATE),
    )
}
# What was found at the start, by flags: a descriptor, a mapping, one to execute.
SEEN: Final = {
    0: wire.ACCESS_OP_READ,
    int(Flag.MAPPED): wire.ACCESS_OP_MAP,
    Flag.MAPPED | Flag.EXECUTABLE: wire.ACCESS_OP_EXECUTE,
}
SEEN_BY: Final = Flag.MAPPED | Flag.EXECUTABLE
READ: Final = int(Kind.READ)
READS: Final = frozenset(map(int, (Kind.READ, Kind.MAP, Kind.EXECUTE)))
# What an AccessRow adds up over its touches: places of its fields.
_ADDED: Final = ("ops", "bytes", "first_ns", "last_ns", "flags", "mount_namespace")
_OPS, _BYTES, _FIRST_NS, _LAST_NS, _FLAGS, _MOUNT_NS = map(AccessRow._fields.index, _ADDED)
_access_row: Final = partial(tuple.__new__, AccessRow)
_REMARKS: Final = (
    (Flag.MAY_WRITE, wire.ACCESS_FLAG_MAY_WRITE),
    (Flag.NAMELESS, wire.ACCESS_FLAG_NAMELESS),
    (Flag.PATH_TRUNCATED, wire.ACCESS_FLAG_PATH_TRUNCATED),
    (Flag.CREATED, wire.ACCESS_FLAG_CREATED),
)
_REMARKED: Final = sum(int(flag) for flag, _ in _REMARKS)
_READ: Final = wire.ACCESS_OP_READ
_WRITE: Final = wire.ACCESS_OP_WRITE
_HALF_WRITTEN: Final = "read while it was being written"
_OVERLAPPED: Final = "read by a call that may have begun before another program's write ended"
_MAY_WRITE: Final = wire.ACCESS_FLAG_MAY_WRITE
_TRUNCATE: Final = wire.ACCESS_OP_TRUNCATE


@dataclass(slots=True)
class Bound:
    """Versions that a process's counts for one file belong to."""

    mount_ns: int
    # Rows that wait to be taken and that its counts are added to, each with the number of takes.
    read_row: list[Any] | None = None
    write_row: list[Any] | None = None
    read_take: int = -1
    write_take: int = -1
    read: FileVersion | None = None
    read_path: str = ""  # one file may be read by one name and written by another
    pending: PendingRead | None = None
    write: FileVersion | None = None
    write_path: str = ""
    write_op: int = wire.ACCESS_OP_WRITE
    proven: bool = False  # of that version a write was seen, not only the chance of one
    mapped: bool = False  # a shared writable mapping is there, or ended with the process


@dataclass(slots=True)
class VersionRows:
    """Rows since they were last taken."""

    _digests: list[DigestRow] = field(default_factory=list)
    # values are the fields of an AccessRow, in a list because they add up
    _accesses: dict[tuple[ProcessKey, FileVersion, int, str], list[Any]] = field(
        default_factory=dict
    )
    _rows: list[list[Any]] = field(default_factory=list)  # the same, found through a Bound
    _takes: int = 0
    _bound: dict[ProcessKey, dict[FileKey, Bound]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._digests) + len(self._accesses) + len(self._rows)

    def take(self) -> list[AccessRow | DigestRow]:
        """Rows since the last call; accesses of the same kind are one row."""
        rows: list[AccessRow | DigestRow] = list(map(_access_row, self._rows))
        rows += map(_access_row, self._accesses.values())
        rows += self._digests
        self._rows, self._accesses, self._digests = [], {}, []
        self._takes += 1
        return rows

    def _add(self, row: list[Any]) -> list[Any]:
        """Add the fields of an AccessRow to the one of its kind and return that; lists are kept."""
        key = (row[0], row[1], row[3], row[2])
        known = self._accesses.setdefault(key, row)
        if known is not row:
            _add_up(known, row)
        return known

    def _read(self, bound: Bound, row: list[Any]) -> None:
        """Add a read to what the process's counts for the file are added to."""
        known = bound.read_row
        if known is not None and bound.read_take == self._takes and known[1:4] == row[1:4]:
            _add_up(known, row)
            return
        bound.read_row, bound.read_take = row, self._takes
        self._rows.append(row)

    def _written(self, bound: Bound, row: list[Any]) -> None:
        known = bound.write_row
        if known is not None and bound.write_take == self._takes and known[1:4] == row[1:4]:
            _add_up(known, row)
            return
        bound.write_row, bound.write_take = row, self._takes
        self._rows.append(row)

    def settled_read(
        self, process: ProcessKey, state: FileState, number: int, at_ns: int, mount_ns: int
    ) -> None:
        """A read of content that is known already, or that is being hashed."""
        files = self._bound.get(process)
        if files is None:
            files = self._bound[process] = {}
        bound = files.get(state.key)
        if bound is None:
            bound = files[state.key] = Bound(mount_ns)
        version, path = state.version(number), text_of(state.path)
        bound.read, bound.read_path, bound.pending = version, path, None
        self._read(bound, [process, version, path, _READ, 0, 0, at_ns, at_ns, 0, mount_ns])

    def is_writing(self, process: ProcessKey, key: FileKey, version: FileVersion) -> bool:
        """Whether the process itself makes that version."""
        bound = self._bound.get(process, {}).get(key)
        return bound is not None and bound.write == version

    def bind(self, process: ProcessKey, state: FileState, event: Event) -> Bound:
        """What the process's counts for the file belong to."""
        files = self._bound.get(process)
        if files is None:
            files = self._bound[process] = {}
        bound = files.get(state.key)
        if bound is None:
            bound = files[state.key] = Bound(event.mount_ns)
        return bound

    def access(
        self, state: FileState, event: Event, process: ProcessKey, op: int,
        version: FileVersion, flags: int, *, ops: int,
    ) -> None:  # fmt: skip
        """A touch, with the version that it saw; its calls are counted by the aggregate."""
        path, at_ns = text_of(state.path), event.at_ns
        if event.flags & _REMARKED:
            flags |= flags_of(event)
        row = [process, version, path, op, ops, 0, at_ns, at_ns, flags, event.mount_ns]
        if op == _READ:
            bound = self.bind(process, state, event)
            bound.read, bound.read_path, bound.pending = version, path, None
            self._read(bound, row)
        elif op in (_WRITE, _TRUNCATE):
            bound = self.bind(process, state, event)
            bound.write_path = path
            if event.flags & Flag.MAY_WRITE:
                bound.mapped = True
                bound.proven &= bound.write == version
            else:
                bound.proven = True
            if op == _TRUNCATE and bound.write is None:
                bound.write_op = op
            self._written(bound, row)
        else:
            self._add(row)

    def on_counts(self, process: ProcessKey, key: FileKey, read: Counts, written: Counts) -> None:
        """Calls and bytes since the last drain, for versions bound by earlier touches."""
        bound = self._bound.get(process, {}).get(key)
        if bound is None:
            return
        if read.ops and bound.pending is not None:
            bound.pending.counts.ops += read.ops
            bound.pending.counts.bytes += read.bytes
            bound.pending.counts.last_ns = max(bound.pending.counts.last_ns, read.last_ns)
        elif read.ops and bound.read is not None:
            last_ns = read.last_ns  # when it began is what the touch said
            self._read(bound, [
                process, bound.read, bound.read_path, _READ, read.ops, read.bytes,
                last_ns, last_ns, 0, bound.mount_ns,
            ])  # fmt: skip
        if written.ops and bound.write is not None:
            self._count_written(process, bound, written)

    def unmapped(self, process: ProcessKey, key: FileKey, at_ns: int) -> None:
        """A shared writable mapping ended: until then it may have been written."""
        bound = self._bound.get(process, {}).get(key)
        if bound is not None and bound.write is not None:
            self._count_written(process, bound, Counts(0, 0, at_ns))

    def unmapped_all(self, process: ProcessKey, at_ns: int) -> list[FileKey]:
        """The process ended, its mappings of these files with it."""
        keys = [key for key, bound in self._bound.get(process, {}).items() if bound.mapped]
        for key in keys:
            self.unmapped(process, key, at_ns)
        return keys

    def _count_written(self, process: ProcessKey, bound: Bound, counts: Counts) -> None:
        last_ns, flags = counts.last_ns, 0 if bound.proven else _MAY_WRITE
        self._written(bound, [
            process, bound.write, bound.write_path, bound.write_op, counts.ops, counts.bytes,
            last_ns, last_ns, flags, bound.mount_ns,
        ])  # fmt: skip

    def forget_process(self, process: ProcessKey) -> None:
        """Its last aggregates have arrived."""
        self._bound.pop(process, None)

    def settle(self, state: FileState, read: PendingRead, version: FileVersion) -> None:
        """A read that waited: its version is known now."""
        counts = read.counts
        last_ns = max(counts.last_ns, read.at_ns)
        row = self._add([
            read.process, version, read.path, read.op, counts.ops, counts.bytes,
            read.at_ns, last_ns, read.flags, read.mount_ns,
        ])  # fmt: skip
        bound = self._bound.get(read.process, {}).get(state.key)
        if bound is not None and bound.pending is read:
            bound.pending, bound.read, bound.read_path = None, version, read.path
            bound.read_row, bound.read_take = row, self._takes

    def settle_torn(self, state: FileState, reads: tuple[PendingRead, ...]) -> None:
        """Reads that saw half of an epoch, and nobody will know which half."""
        for read in reads:
            version = state.torn_version(read.number)
            self.settle(state, read, version)
            self.tear(state, version)

    def settle_overlapped(self, state: FileState, read: PendingRead) -> None:
        """A read that may have begun before the write ended whose version it was given."""
        version = state.torn_version(read.number)
        self.settle(state, read, version)
        self.refuse(state, version, "torn", _OVERLAPPED)

    def tear(self, state: FileState, version: FileVersion) -> None:
        """A half-written version that was read."""
        self.refuse(state, version, "torn", _HALF_WRITTEN)

    def digest(self, state: FileState, version: FileVersion, reply: HashReply) -> None:
        """What the hasher found for a version."""
        self._digests.append(
            DigestRow(
                version, _STATES[reply.state], reply.at_ns, reply.blake3, reply.sha256,
                max(reply.size_bytes, 0), reply.reason or None, text_of(state.path),
            )
        )  # fmt: skip

    def refuse(self, state: FileState, version: FileVersion, how: str, why: str) -> None:
        """A version that no digest will ever belong to."""
        self._digests.append(
            DigestRow(version, _STATES[how], 0, reason=why, path=text_of(state.path))
        )


def _add_up(known: list[Any], row: list[Any]) -> None:
    """Add the fields of an AccessRow to another of the same process, version, path and kind."""
    known[_OPS] += row[_OPS]
    known[_BYTES] += row[_BYTES]
    known[_FIRST_NS] = min(known[_FIRST_NS], row[_FIRST_NS])
    known[_LAST_NS] = max(known[_LAST_NS], row[_LAST_NS])
    may_write = known[_FLAGS] & row[_FLAGS] & _MAY_WRITE  # one that was seen is proof
    known[_FLAGS] = (known[_FLAGS] | row[_FLAGS]) & ~_MAY_WRITE | may_write
    known[_MOUNT_NS] = row[_MOUNT_NS]


def flags_of(event: Event) -> int:
    """Remarks of the wire on a touch: a sum of AccessFlag."""
    flags = event.flags & _REMARKED
    if not flags:
        return 0
    return sum(remark for flag, remark in _REMARKS if flags & flag)
