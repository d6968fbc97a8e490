"""Rows of accesses and digests, and which version a process's counts belong to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced.record import Flag
from whenced.rows import AccessRow, DigestRow, text_of

if TYPE_CHECKING:
    from whenced.event import Event, FileKey
    from whenced.file_state import Counts, FileState, PendingRead
    from whenced.hash_messages import HashReply
    from whenced.rows import FileVersion, ProcessKey

_STATES: Final = {
    "verified": wire.DIGEST_STATE_VERIFIED,
    "asserted": wire.DIGEST_STATE_ASSERTED,
    "torn": wire.DIGEST_STATE_TORN,
    "unhashed": wire.DIGEST_STATE_UNHASHED,
}


@dataclass(slots=True)
class Bound:
    """Versions that a process's counts for one file belong to."""

    mount_ns: int
    read: FileVersion | None = None
    read_path: str = ""  # one file may be read by one name and written by another
    pending: PendingRead | None = None
    write: FileVersion | None = None
    write_path: str = ""
    write_op: int = wire.ACCESS_OP_WRITE


@dataclass(slots=True)
class VersionRows:
    """Rows since they were last taken."""

    _digests: list[DigestRow] = field(default_factory=list)
    _accesses: dict[tuple[ProcessKey, FileVersion, int, str], AccessRow] = field(
        default_factory=dict
    )
    _bound: dict[ProcessKey, dict[FileKey, Bound]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._digests) + len(self._accesses)

    def take(self) -> list[AccessRow | DigestRow]:
        """Rows since the last call; accesses of the same kind are one row."""
        rows: list[AccessRow | DigestRow] = [*self._accesses.values(), *self._digests]
        self._accesses, self._digests = {}, []
        return rows

    def _add(self, row: AccessRow) -> None:
        key = (row.process, row.file, row.op, row.path or "")
        known = self._accesses.get(key)
        if known is not None:
            row = row._replace(
                ops=known.ops + row.ops,
                bytes=known.bytes + row.bytes,
                first_ns=min(known.first_ns, row.first_ns),
                last_ns=max(known.last_ns, row.last_ns),
                flags=known.flags | row.flags,
            )
        self._accesses[key] = row

    def bind(self, process: ProcessKey, state: FileState, event: Event) -> Bound:
        """What the process's counts for the file belong to."""
        files = self._bound.setdefault(process, {})
        bound = files.get(state.key)
        if bound is None:
            bound = files[state.key] = Bound(event.mount_ns)
        return bound

    def access(
        self, state: FileState, event: Event, process: ProcessKey, op: int,
        version: FileVersion, flags: int, *, ops: int,
    ) -> None:  # fmt: skip
        """A touch, with the version that it saw; its calls are counted by the aggregate."""
        bound, path = self.bind(process, state, event), text_of(state.path)
        if op == wire.ACCESS_OP_READ:
            bound.read, bound.read_path, bound.pending = version, path, None
        elif op in (wire.ACCESS_OP_WRITE, wire.ACCESS_OP_TRUNCATE):
            bound.write_path = path
            if op == wire.ACCESS_OP_TRUNCATE and bound.write is None:
                bound.write_op = op
        self._add(
            AccessRow(
                process, version, path, op, ops, 0, event.at_ns, event.at_ns,
                flags | flags_of(event), event.mount_ns,
            )
        )  # fmt: skip

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
            names = bound.read, bound.read_path
            self._count(process, bound.mount_ns, *names, wire.ACCESS_OP_READ, read)
        if written.ops and bound.write is not None:
            names = bound.write, bound.write_path
            self._count(process, bound.mount_ns, *names, bound.write_op, written)

    def _count(
        self, process: ProcessKey, mount_ns: int, version: FileVersion, path: str,
        op: int, counts: Counts,
    ) -> None:  # fmt: skip
        # when it began is what the touch said; the table's row may be older than this use
        self._add(
            AccessRow(
                process, version, path, op, counts.ops, counts.bytes,
                counts.last_ns, counts.last_ns, 0, mount_ns,
            )
        )  # fmt: skip

    def forget_process(self, process: ProcessKey) -> None:
        """Its last aggregates have arrived."""
        self._bound.pop(process, None)

    def settle(self, state: FileState, read: PendingRead, version: FileVersion) -> None:
        """A read that waited: its version is known now."""
        counts = read.counts
        self._add(
            AccessRow(
                read.process, version, read.path, read.op, counts.ops, counts.bytes,
                read.at_ns, max(counts.last_ns, read.at_ns), read.flags, read.mount_ns,
            )
        )  # fmt: skip
        bound = self._bound.get(read.process, {}).get(state.key)
        if bound is not None and bound.pending is read:
            bound.pending, bound.read, bound.read_path = None, version, read.path

    def settle_torn(self, state: FileState, reads: tuple[PendingRead, ...]) -> None:
        """Reads that saw half of an epoch, and nobody will know which half."""
        for read in reads:
            version = state.torn_version(read.number)
            self.settle(state, read, version)
            self.tear(state, version)

    def tear(self, state: FileState, version: FileVersion) -> None:
        """A half-written version that was read."""
        self.refuse(state, version, "torn", "read while it was being written")

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


def flags_of(event: Event) -> int:
    """Remarks of the wire on a touch: a sum of AccessFlag."""
    flags = 0
    if event.flags & Flag.MAY_WRITE:
        flags |= wire.ACCESS_FLAG_MAY_WRITE
    if event.flags & Flag.NAMELESS:
        flags |= wire.ACCESS_FLAG_NAMELESS
    if event.flags & Flag.PATH_TRUNCATED:
        flags |= wire.ACCESS_FLAG_PATH_TRUNCATED
    if event.flags & Flag.CREATED:
        flags |= wire.ACCESS_FLAG_CREATED
    return flags
