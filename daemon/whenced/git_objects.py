"""Git's object store and index, read as data: commits, trees and small blobs, loose or packed.

Runs nothing, follows no symbolic link out of the store, and bounds time, depth and memory,
because whoever owns the repository may have written anything into it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from whenced import openat

OID_BYTES: Final = 20
#: Largest object that is unpacked; trees and commits are far smaller.
OBJECT_LIMIT_BYTES: Final = 16 << 20
_DELTA_DEPTH: Final = 64
_PACK_LIMIT: Final = 2000
_ALTERNATES_LIMIT: Final = 4
_READ_BYTES: Final = 1 << 16

_PACK_TYPES: Final = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7


class DamagedError(Exception):
    """The repository cannot be understood; the message says what, for the reason of a reply."""


class OutOfTimeError(Exception):
    """The time for one repository is used up."""


class Deadline:
    """A moment after which `check` raises OutOfTimeError."""

    def __init__(self, limit_ns: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """End `limit_ns` from now."""
        self._clock_ns = clock_ns
        self._end_ns = clock_ns() + limit_ns

    def check(self) -> None:
        """Raise OutOfTimeError when the time is over."""
        if self._clock_ns() > self._end_ns:
            raise OutOfTimeError


def read_small(directory: int, path: bytes, limit_bytes: int) -> bytes | None:
    """Return the content of a regular file, None when there is none or it is larger."""
    try:
        fd = openat.open_regular(directory, path, links_inside=True)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    try:
        data = _read_up_to(fd, limit_bytes + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) <= limit_bytes else None


def _read_up_to(fd: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        data = os.read(fd, min(_READ_BYTES, count - len(content)))
        if not data:
            break
        content += data
    return bytes(content)


# --- objects ---------------------------------------------------------------------------------


class Objects:
    """Objects of one repository, its packs and its alternates. Close it after use."""

    def __init__(self, root: int, path: bytes, deadline: Deadline, depth: int = 0) -> None:
        """Open the object directory at the absolute `path` below the directory `root`.

        Raises OSError.
        """
        self._deadline = deadline
        self._delta_bytes = 0
        self._directory = openat.locate(root, path)
        self._packs: list[_Pack] | None = None
        self._alternates: list[Objects] = []
        if depth == 0:
            self._open_alternates(root, path)

    def close(self) -> None:
        """Close every descriptor."""
        for pack in self._packs or ():
            pack.close()
        for alternate in self._alternates:
            alternate.close()
        os.close(self._directory)

    def read(self, oid: bytes, depth: int = 0) -> tuple[bytes, bytes]:
        """Return type and content of the object with the raw id `oid`.

        Raises DamagedError when it is missing, malformed or too large, and OutOfTimeError.
        """
        self._deadline.check()
        found = self._loose(oid) or self._packed(oid, depth)
        for alternate in self._alternates if found is None else ():
            with contextlib.suppress(DamagedError):
                found = found or alternate.read(oid, depth)
        if found is None:
            raise DamagedError(f"object {oid.hex()} is missing")
        return found

    def tree_of(self, commit: bytes) -> bytes:
        """Return the raw id of the tree of a commit."""
        kind, content = self.read(commit)
        line = content.split(b"\n", 1)[0]
        if kind != b"commit" or not line.startswith(b"tree "):
            raise DamagedError(f"{commit.hex()} is no commit")
        return _raw_id(line[5:])

    def tree_entries(self, tree: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield name, mode and raw id of each entry of a tree."""
        kind, content = self.read(tree)
        if kind != b"tree":
            raise DamagedError(f"{tree.hex()} is no tree")
        at = 0
        while at < len(content):
            space, end = content.find(b" ", at), content.find(b"\0", at)
            if not at < space < end or end + OID_BYTES >= len(content):
                raise DamagedError(f"tree {tree.hex()} is malformed")
            yield (
                content[space + 1 : end],
                _octal(content[at:space]),
                content[end + 1 :][:OID_BYTES],
            )
            at = end + 1 + OID_BYTES

    def _open_alternates(self, root: int, path: bytes) -> None:
        text = read_small(self._directory, b"info/alternates", 1 << 16) or b""
        lines = [line for line in text.split(b"\n") if line and not line.startswith(b"#")]
        owner = os.fstat(self._directory).st_uid
        for line in lines[:_ALTERNATES_LIMIT]:
            with contextlib.suppress(OSError, ValueError):
                other = Objects(root, os.path.normpath(os.path.join(path, line)), self._deadline, 1)  # noqa: PTH118 - bytes
                if os.fstat(other._directory).st_uid == owner:
                    self._alternates.append(other)
                else:
                    other.close()

    def _loose(self, oid: bytes) -> tuple[bytes, bytes] | None:
        name = oid.hex().encode()
        data = read_small(self._directory, name[:2] + b"/" + name[2:], OBJECT_LIMIT_BYTES)
        if data is None:
            return None
        header, separator, content = _inflate(data, OBJECT_LIMIT_BYTES).partition(b"\0")
        kind = header.split(b" ")[0]
        if not separator:
            raise DamagedError(f"object {oid.hex()} is malformed")
        return kind, content

    def _packed(self, oid: bytes, depth: int) -> tuple[bytes, bytes] | None:
        if self._packs is None:
            self._packs = list(self._open_packs())
        for pack in self._packs:
            offset = pack.find(oid)
            if offset is not None:
                return self._unpack(pack, offset, depth)
        return None

    def _unpack(self, pack: _Pack, offset: int, depth: int) -> tuple[bytes, bytes]:
        """Undo deltas: gather them down to a whole object, then apply them upwards."""
        deltas: list[bytes] = []
        self._delta_bytes *= depth > 0
        while True:
            self._deadline.check()
            kind, base, content = pack.entry(offset)
            if kind in _PACK_TYPES:
                name = _PACK_TYPES[kind]
                break
            deltas.append(content)
            self._delta_bytes += len(content)
            if len(deltas) + depth > _DELTA_DEPTH or self._delta_bytes > OBJECT_LIMIT_BYTES:
                raise DamagedError("a chain of deltas is too long")
            if isinstance(base, bytes):
                name, content = self.read(base, depth + len(deltas))
                break
            offset = base
        for delta in reversed(deltas):
            content = apply_delta(content, delta)
        return name, content

    def _open_packs(self) -> Iterator[_Pack]:
        with contextlib.suppress(OSError):
            located = openat.locate(self._directory, b"pack")
            try:
                folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=located)
            finally:
                os.close(located)
            try:
                names = [os.fsencode(name) for name in os.listdir(folder)]  # noqa: PTH208 - a descriptor
                for name in sorted(n for n in names if n.endswith(b".idx"))[:_PACK_LIMIT]:
                    with contextlib.suppress(OSError):
                        yield _Pack(folder, name[: -len(b".idx")])
            finally:
                os.close(folder)


class _Pack:
    """One pack and its index (version 2), read by position."""

    def __init__(self, folder: int, stem: bytes) -> None:
        self._index = openat.open_regular(folder, stem + b".idx")
        try:
            self._data = openat.open_regular(folder, stem + b".pack")
        except OSError:
            os.close(self._index)
            raise
        head = os.pread(self._index, 8 + 1024, 0)
        self._fanout = struct.unpack(">256I", head[8:]) if len(head) == 8 + 1024 else (0,) * 256
        if head[:8] != b"\xfftOc\x00\x00\x00\x02":
            self._fanout = (0,) * 256  # version 1 was last written in 2007

    def close(self) -> None:
        os.close(self._index)
        os.close(self._data)

    def find(self, oid: bytes) -> int | None:
        """Return the offset of an object in the pack."""
        low = self._fanout[oid[0] - 1] if oid[0] else 0
        high, total = self._fanout[oid[0]], self._fanout[255]
        while low < high:
            middle = (low + high) // 2
            found = os.pread(self._index, OID_BYTES, 1032 + middle * OID_BYTES)
            if found == oid:
                return self._offset(middle, total)
            low, high = (middle + 1, high) if found < oid else (low, middle)
        return None

    def entry(self, offset: int) -> tuple[int, int | bytes, bytes]:
        """Return type, base (offset or raw id; 0 without one) and inflated bytes of an entry."""
        head = os.pread(self._data, 64, offset)
        try:
            kind, size_bytes, at = _entry_header(head)
            base: int | bytes = 0
            if kind == _OFS_DELTA:
                distance, at = _offset_varint(head, at)
                base = offset - distance
                if not 0 < base < offset:
                    raise DamagedError("a delta points outside its pack")
            elif kind == _REF_DELTA:
                base, at = head[at : at + OID_BYTES], at + OID_BYTES
            elif kind not in _PACK_TYPES:
                raise DamagedError("a pack has an entry of unknown type")
        except IndexError:
            raise DamagedError("a pack ends too early") from None
        if size_bytes > OBJECT_LIMIT_BYTES:
            raise DamagedError(f"an object of {size_bytes} bytes is too large")
        return kind, base, self._inflate_at(offset + at, size_bytes)

    def _offset(self, place: int, total: int) -> int:
        tables = 1032 + total * (OID_BYTES + 4)
        (offset,) = _numbers(">I", os.pread(self._index, 4, tables + place * 4))
        if offset & 0x80000000:
            at = tables + total * 4 + (offset & 0x7FFFFFFF) * 8
            (offset,) = _numbers(">Q", os.pread(self._index, 8, at))
        return int(offset)

    def _inflate_at(self, offset: int, size_bytes: int) -> bytes:
        inflating, content = zlib.decompressobj(), bytearray()
        with _zlib_errors():
            while len(content) < size_bytes:
                data = os.pread(self._data, _READ_BYTES, offset)
                if not data:
                    break
                offset += len(data)
                content += inflating.decompress(data, size_bytes - len(content) + 1)
                if inflating.eof or inflating.unconsumed_tail:
                    break
        if len(content) != size_bytes:
            raise DamagedError("a packed object has not the size that it claims")
        return bytes(content)


def apply_delta(base: bytes, delta: bytes) -> bytes:
    """Return what git's `delta` makes of `base`. Raises DamagedError."""
    try:
        base_bytes, at = _size_varint(delta, 0)
        result_bytes, at = _size_varint(delta, at)
        if base_bytes != len(base) or result_bytes > OBJECT_LIMIT_BYTES:
            raise DamagedError("a delta does not fit its base")
        result = bytearray()
        while at < len(delta) and len(result) <= result_bytes:
            order = delta[at]
            at += 1
            if order & 0x80:
                start, count, at = _copy_order(delta, at, order)
                result += base[start : start + count]
            elif order:
                result += delta[at : at + order]
                at += order
            else:
                raise DamagedError("a delta has a reserved order")
    except IndexError:
        raise DamagedError("a delta ends too early") from None
    if len(result) != result_bytes:
        raise DamagedError("a delta does not yield the size that it claims")
    return bytes(result)


def _copy_order(delta: bytes, at: int, order: int) -> tuple[int, int, int]:
    values = []
    for bits in (range(4), range(4, 7)):
        value = 0
        for shift, bit in enumerate(bits):
            if order >> bit & 1:
                value |= delta[at] << (8 * shift)
                at += 1
        values.append(value)
    return values[0], values[1] or 0x10000, at


def _entry_header(head: bytes) -> tuple[int, int, int]:
    byte, at = head[0], 1
    kind, size_bytes, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = head[at]
        size_bytes |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return kind, size_bytes, at


def _size_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _offset_varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def _inflate(data: bytes, limit_bytes: int) -> bytes:
    with _zlib_errors():
        inflating = zlib.decompressobj()
        content = inflating.decompress(data, limit_bytes)
        if inflating.eof:
            return content
    raise DamagedError("an object is cut off or too large")


@contextlib.contextmanager
def _zlib_errors() -> Iterator[None]:
    try:
        yield
    except zlib.error as error:
        raise DamagedError(f"an object cannot be inflated ({error})") from None


def _numbers(layout: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(layout, data)
    except struct.error:
        raise DamagedError("a pack index ends too early") from None


def _raw_id(text: bytes) -> bytes:
    try:
        raw = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raw = b""
    if len(raw) != OID_BYTES:
        raise DamagedError(f"{text[:64]!r} is no object id")
    return raw


def _octal(text: bytes) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise DamagedError("a tree has a mode that is no number") from None
