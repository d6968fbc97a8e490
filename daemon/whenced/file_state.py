"""One file as the daemon knows it, and the numbers of its versions on the wire. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from whenced.hash_messages import ANY, DIGESTED
from whenced.rows import FileVersion

if TYPE_CHECKING:
    from whenced.event import FileKey
    from whenced.hash_messages import HashReply
    from whenced.rows import ProcessKey

# A version on the wire, from the top: number of the capture (the second of the boot, 26 bits, two
# years), epoch (22), remark (16). The kernel's numbers start anew with each daemon, hence the
# first; the remark tells versions apart that the kernel's number does not.
_START_SHIFT: Final = 38
_EPOCH_SHIFT: Final = 16
_EPOCH_MASK: Final = (1 << 22) - 1
_TORN: Final = 0x8000
_REMARK_MASK: Final = 0x7FFF


@dataclass(slots=True)
class Counts:
    """Calls and bytes that were drained for one process and file, one direction."""

    ops: int = 0
    bytes: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class PendingRead:
    """A read of an epoch that is not sealed: whether it saw the final bytes is open."""

    process: ProcessKey
    op: int
    number: int
    size_bytes: int
    at_ns: int
    path: str
    flags: int
    mount_ns: int
    counts: Counts = field(default_factory=Counts)

    def saw_final(self, sealed: int, reply: HashReply) -> bool:
        """Whether the read saw the bytes that a reply for version ``sealed`` is about."""
        return self.number == sealed and is_of_size(reply, self.size_bytes)


@dataclass(slots=True)
class FileState:
    """What is known of one file; ``number`` is the kernel's, epoch << 32 | writes."""

    key: FileKey
    start: int  # number of the capture among those of the boot
    path: bytes
    mount_ns: int = 0
    magic: int = 0
    tgid: int = 0
    fd: int = -1
    size_bytes: int = -1
    mtime_ns: int = -1
    number: int = 0
    sealed: int | None = None  # number that the newest digest (or its refusal) belongs to
    sealed_bytes: int = ANY  # size of that digest's content
    failed: bool = False  # the newest answer was no digest
    dirty_since_ns: int | None = None
    held: bool = False
    promised: int | None = None  # number that the epoch's version stands for, once told
    unseen: int = 0  # changes that no hook saw
    ticket: int | None = None  # hash job in flight
    asked_unseen: int = 0  # ``unseen`` when that job was asked for
    again: bool = False  # something happened meanwhile
    tries: int = 0
    # There are tens of thousands of these: what most files never have is not allocated.
    lost_epochs: tuple[int, ...] = ()
    pending: tuple[PendingRead, ...] = ()
    loose: tuple[PendingRead, ...] = ()  # told already, as half-written
    _epoch_version: FileVersion | None = None  # newest that version() gave, and what for
    _epoch_of: tuple[int, int] = (0, 0)

    @property
    def epoch(self) -> int:
        """Newest epoch that was seen."""
        return self.number >> 32

    @property
    def wants_reading(self) -> bool:
        """Whether a digest is missing, or reads wait for one."""
        return self.sealed != self.number or self.dirty_since_ns is not None or bool(self.pending)

    def is_settled(self, content: tuple[int, int, int], path: bytes) -> bool:
        """Whether (version, size, mtime) and path are those that are known, and asked for."""
        number, size_bytes, mtime_ns = content
        return (
            (number == self.sealed or (number >> 32 == 0 and self.is_asked_for))
            and self.size_bytes == size_bytes
            and self.mtime_ns == mtime_ns
            and self.path == path
        )

    def differs(self, number: int, size_bytes: int, mtime_ns: int) -> bool:
        """Whether a file at rest has other bytes under the number that is known."""
        if number != self.number or self.dirty_since_ns is not None:
            return False
        same_size = self.size_bytes in (ANY, size_bytes)
        if same_size and self.mtime_ns in (ANY, mtime_ns):
            return False
        return self.epoch == 0 or self.sealed == number

    def forget_content(self) -> None:
        """What is known was of bytes that are gone, by a change that no hook saw."""
        self.unseen += 1
        self.sealed, self.promised = None, None
        self.size_bytes, self.mtime_ns = ANY, ANY

    @property
    def is_asked_for(self) -> bool:
        """Whether a digest is there or on its way."""
        return self.sealed is not None or self.ticket is not None

    @property
    def owes_answer(self) -> bool:
        """Whether rows name the newest version and neither a digest nor a reason followed."""
        return self.dirty_since_ns is not None or (
            self.sealed is None and self.promised is not None
        )

    @property
    def is_needed(self) -> bool:
        """Whether forgetting the file would leave a version without an answer."""
        waiting = self.pending or self.loose or self.lost_epochs
        return self.ticket is not None or self.owes_answer or bool(waiting)

    def version(self, number: int) -> FileVersion:
        """Version on the wire of a sealed epoch: the same for every number within it."""
        known, of = self._epoch_version, self._epoch_of
        epoch, unseen = number >> 32, self.unseen
        if known is not None and of[0] == epoch and of[1] == unseen:
            return known
        self._epoch_of = epoch, unseen
        known = self._epoch_version = self._version(epoch, unseen & _REMARK_MASK)
        return known

    def saw_sealed(self, number: int, size_bytes: int) -> bool:
        """Whether a read saw the sealed content: some calls cut a file before they count up."""
        if number >> 32 == 0:
            return True
        return number == self.sealed and self.sealed_bytes in (ANY, size_bytes)

    def torn_version(self, number: int) -> FileVersion:
        """Version on the wire of a half-written state: no digest of the epoch matches it."""
        return self._version(number >> 32, _TORN | number & _REMARK_MASK)

    def _version(self, epoch: int, remark: int) -> FileVersion:
        number = self.start << _START_SHIFT | (epoch & _EPOCH_MASK) << _EPOCH_SHIFT | remark
        return FileVersion(self.key.device, self.key.inode, self.key.generation, number)


def is_of_size(reply: HashReply, size_bytes: int) -> bool:
    """Whether a digest can be of the bytes that a touch saw: the last defence where no hook was."""
    return reply.state not in DIGESTED or size_bytes in (ANY, reply.size_bytes)
