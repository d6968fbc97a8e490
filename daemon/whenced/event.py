"""One hot record as a Python value: the row of RECORD, by name. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whenced.record import Rows


class FileKey(NamedTuple):
    """A file of this boot: kernel device and inode, and the inode's generation."""

    device: int
    inode: int
    generation: int


class Event(NamedTuple):
    """Fields of struct whence_record, in its order, under short names."""

    sequence: int
    at_ns: int
    start_ns: int
    tgid: int
    exec_id: int
    inode: int
    device: int
    generation: int
    version: int
    size_bytes: int
    mtime_ns: int
    value: int
    text: int
    text2: int
    other_start_ns: int
    other_tgid: int
    other_exec_id: int
    uid: int
    login_uid: int
    session: int
    process_group: int
    terminal: int
    mount_ns: int
    pid_ns: int
    magic: int
    cgroup_id: int
    fd: int
    kind: int
    cpu: int
    flags: int
    nlink: int
    comm: bytes

    @property
    def file(self) -> FileKey:
        """The file that the record is about."""
        return FileKey(self.device, self.inode, self.generation)


def events(rows: Rows) -> Iterable[Event]:
    """Return the rows as events, oldest first."""
    return map(Event._make, rows.tolist())
