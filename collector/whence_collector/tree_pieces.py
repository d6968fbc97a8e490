"""Members of a tree on their way into the database, dealt into files by bucket. Knows no database.

Ten million members fit no memory that a collector may take: they lie on disk as the very bytes that
the tree's digest covers, a file for every few buckets, and are taken up a file at a time.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whence_proto.tree_digest import BUCKETS, Member, bucket_of, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = 256  # 40,000 of ten million members in each
BUCKETS_EACH = BUCKETS // FILES
BUFFER_BYTES = 64 << 10  # of each file, until it is written
_NUMBER = struct.Struct("<H")
ENTRY = np.dtype([("content", "<u8"), ("bucket_id", "<i8")])

Entries = npt.NDArray[np.void]


@dataclass(slots=True)
class _Files:
    """FILES files that only grow, in a folder; what is small waits in memory."""

    folder: Path
    name: str
    waiting: list[bytearray]

    def add(self, number: int, data: bytes) -> None:
        """Append to one of the files. Raises OSError."""
        waiting = self.waiting[number]
        waiting += data
        if len(waiting) >= BUFFER_BYTES:
            self._write(number)

    def take(self, number: int) -> bytes:
        """Return all of one file, which is gone then. Raises OSError."""
        path = self._path(number)
        data = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        data += self.waiting[number]
        self.waiting[number].clear()
        return data

    def _write(self, number: int) -> None:
        with self._path(number).open("ab") as file:
            file.write(self.waiting[number])
        self.waiting[number].clear()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.name}{number:03}"


class Pieces:
    """Members by bucket, then contents by value; drop() removes what is left of both."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises OSError."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._members = _Files(folder, "members", [bytearray() for _ in range(FILES)])
        self._contents = _Files(folder, "contents", [bytearray() for _ in range(FILES)])
        self.count = 0

    def add(self, members: Iterable[Member]) -> None:
        """Put members aside. Raises OSError."""
        for member in members:
            number = bucket_of(member.path)
            self._members.add(number // BUCKETS_EACH, _NUMBER.pack(number) + packed(member))
            self.count += 1

    def by_bucket(self) -> Iterator[dict[int, list[Member]]]:
        """Give all members, a few buckets at a time. Raises OSError."""
        for number in range(FILES):
            dealt = _dealt(self._members.take(number))
            if dealt:
                yield dealt

    def add_contents(self, bucket_id: int, members: Iterable[Member]) -> None:
        """Put aside what a stored bucket holds. Raises OSError."""
        for member in members:
            entry = member.blake3[7::-1] + bucket_id.to_bytes(8, "little")
            self._contents.add(member.blake3[0] * FILES // 256, entry)

    def by_content(self) -> Iterator[Entries]:
        """Give what add_contents() was given in the order of contents. Raises OSError."""
        for number in range(FILES):
            entries = np.frombuffer(self._contents.take(number), ENTRY)
            if len(entries):
                yield np.sort(entries, order="content")

    def drop(self) -> None:
        """Remove the files."""
        remove(self._folder)


def remove(folder: Path) -> None:
    """Remove the files of pieces that somebody else left in a folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _dealt(data: bytes) -> dict[int, list[Member]]:
    dealt: dict[int, list[Member]] = {}
    at = 0
    while at < len(data):
        (number,) = _NUMBER.unpack_from(data, at)
        member, at = unpacked(data, at + _NUMBER.size)
        dealt.setdefault(number, []).append(member)
    return dealt
