"""One hot record as a Python value: the row of RECORD, by name. Pure."""

from __future__ import annotations

import struct
from functools import partial
from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

from whenced.record import RECORD

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
    name: bytes

    @property
    def file(self) -> FileKey:
        """The file that the record is about."""
        return FileKey(self.device, self.inode, self.generation)


# RECORD once more: unpacking a struct takes a third of the time of numpy's tolist().
_RECORD: Final = struct.Struct("<QQQIIQIIQQQQQQQIIIIIIIIIIQiHHII40x")

assert _RECORD.size == RECORD.itemsize  # noqa: S101 (two spellings of one C struct, at import)

# Event._make without its check of the length, which the struct has made.
_event: Final = partial(tuple.__new__, Event)


def event_at(data: bytes, place: int) -> Event:
    """Return one of the records that follow each other in ``data``."""
    values = _RECORD.unpack_from(data, place * _RECORD.size)
    end = (place + 1) * _RECORD.size
    name = data[end - RECORD["name"].itemsize : end].split(b"\0", 1)[0]
    return _event((*values, name))


def events(rows: Rows) -> Iterable[Event]:
    """Return the rows as events, oldest first."""
    # numpy takes the padding off ``name``
    return map(_event, map(add, _RECORD.iter_unpack(rows.tobytes()), zip(rows["name"].tolist())))
