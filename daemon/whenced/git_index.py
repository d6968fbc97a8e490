"""Git's index file (versions 2 to 4) as rows. Pure: bytes in, entries out, nothing is opened."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from whenced.git_objects import OID_BYTES, DamagedError

ENTRY_LIMIT: Final = 200_000
_FIXED: Final = struct.Struct(">10I20sH")
_ASSUME_VALID: Final = 0x8000
_EXTENDED: Final = 0x4000
_STAGE: Final = 0x3000
_NAME_BYTES: Final = 0x0FFF
_SKIP_WORKTREE: Final = 0x4000
_INTENT_TO_ADD: Final = 0x2000
_SECOND_NS: Final = 1_000_000_000


class Entry(NamedTuple):
    """One tracked file as it was when it was added; `size_bytes` and `inode` modulo 2**32."""

    path: bytes
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int
    size_bytes: int
    oid: bytes
    stage: int
    unwatched: bool
    """The user told git not to look (assume-unchanged, sparse checkout)."""
    intended: bool
    """Added by name only (`git add --intent-to-add`)."""


@dataclass(frozen=True, slots=True)
class Index:
    """All entries in order of path, and the ids of the trees that they are known to make."""

    entries: list[Entry] = field(default_factory=list)
    trees: dict[bytes, bytes] = field(default_factory=dict)


def parse_index(data: bytes) -> Index:
    """Read an index file. Raises DamagedError when it is malformed or beyond ENTRY_LIMIT."""
    if len(data) < 12 or data[:4] != b"DIRC":
        raise DamagedError("the index is no index file")
    version, count = struct.unpack_from(">II", data, 4)
    if version not in (2, 3, 4):
        raise DamagedError(f"the index has the unknown version {version}")
    if count > ENTRY_LIMIT:
        raise DamagedError(f"the index has {count} files, more than {ENTRY_LIMIT}")
    index = Index()
    try:
        at = _read_entries(data, version, count, index.entries)
        for name, content in _extensions(data, at):
            _note_extension(name, content, index)
    except (struct.error, IndexError, ValueError):
        raise DamagedError("the index is malformed") from None
    return index


def _read_entries(data: bytes, version: int, count: int, entries: list[Entry]) -> int:
    at, previous = 12, b""
    for _ in range(count):
        start = at
        values = _FIXED.unpack_from(data, at)
        flags, extended = values[11], 0
        at += _FIXED.size
        if flags & _EXTENDED:
            (extended,) = struct.unpack_from(">H", data, at)
            at += 2
        if version == 4:
            cut, at = _varint(data, at)
            end = data.index(b"\0", at)
            path = previous[: max(0, len(previous) - cut)] + data[at:end]
            at = end + 1
        else:
            length = flags & _NAME_BYTES
            end = at + length if length < _NAME_BYTES else data.index(b"\0", at)
            path = data[at:end]
            at = start + ((end - start + 8) & ~7)
        previous = path
        entries.append(_entry(path, values, extended))
    return at


def _entry(path: bytes, values: tuple[int, ...], extended: int) -> Entry:
    ctime_s, ctime_ns, mtime_s, mtime_ns, _, inode, mode, _, _, size_bytes, oid, flags = values
    return Entry(
        path,
        mtime_s * _SECOND_NS + mtime_ns,
        ctime_s * _SECOND_NS + ctime_ns,
        inode,
        mode,
        size_bytes,
        oid,  # type: ignore[arg-type] # the one field of the layout that is bytes
        (flags & _STAGE) >> 12,
        bool(flags & _ASSUME_VALID or extended & _SKIP_WORKTREE),
        bool(extended & _INTENT_TO_ADD),
    )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read the offset encoding of packs, which version 4 uses for shared prefixes."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def _extensions(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(data) - OID_BYTES:
        (size_bytes,) = struct.unpack_from(">I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + size_bytes]
        at += 8 + size_bytes


def _note_extension(name: bytes, content: bytes, index: Index) -> None:
    if name == b"TREE":
        _read_trees(content, index.trees)
    elif name == b"link":
        raise DamagedError("the index is split over two files, which is not read")
    elif name[:1].islower() and name != b"sdir":
        raise DamagedError(f"the index needs the unknown extension {name!r}")


def _read_trees(content: bytes, trees: dict[bytes, bytes]) -> None:
    """Read the cache of trees: depth first, path relative to the parent, -1 where outdated."""
    at = 0
    open_trees: list[tuple[bytes, int]] = []  # path, subtrees still to come
    while at < len(content):
        end = content.index(b"\0", at)
        newline = content.index(b"\n", end)
        entries, subtrees = (int(part) for part in content[end + 1 : newline].split(b" "))
        while open_trees and open_trees[-1][1] == 0:
            open_trees.pop()
        path = content[at:end]
        if open_trees:
            parent, left = open_trees.pop()
            open_trees.append((parent, left - 1))
            path = parent + path + b"/"
        at = newline + 1
        if entries >= 0:
            trees[path] = content[at : at + OID_BYTES]
            at += OID_BYTES
        open_trees.append((path, subtrees))
