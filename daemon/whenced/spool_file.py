"""One batch in one file: its name, its frame, and how it becomes durable.

May not decide what is kept or for how long; spool.py does.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

# Header, then the payload. The checksum covers the row count and the payload; all little-endian.
_HEADER = struct.Struct("<8sIIQ")  # magic, checksum, rows, payload bytes
_MAGIC = b"whnb\x01\r\n\x00"  # the line end shows a file that went through a text conversion
_NAME = re.compile(r"([0-9a-zA-Z]{1,64})-([0-9]{1,19})\.batch")
_TEMPORARY = ".tmp"

# What a file takes at least on the usual file systems; limits count it, not the content alone.
BLOCK_BYTES = 4096


class DamagedBatch(Exception):  # noqa: N818 - says what was found; the spool catches it
    """A file that is torn or altered; the text says how."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch file found in a directory."""

    epoch: str
    number: int
    size_bytes: int
    modified_ns: int


def name_of(epoch: str, number: int) -> str:
    """File name of a batch."""
    return f"{epoch}-{number}.batch"


def disk_bytes(payload_bytes: int) -> int:
    """Space that a payload of this length takes on disk."""
    whole = _HEADER.size + payload_bytes
    return -(-whole // BLOCK_BYTES) * BLOCK_BYTES


def payload_bytes(file_bytes: int) -> int:
    """Length of the payload in a file of this size, were it whole."""
    return max(0, file_bytes - _HEADER.size)


def write(directory: Path, epoch: str, number: int, payload: bytes, rows: int) -> None:
    """Write one batch so that it is there whole or not at all.

    Durable once sync_directory() has returned too. Raises OSError; no partial file remains.
    """
    final = directory / name_of(epoch, number)
    temporary = final.with_suffix(_TEMPORARY)
    try:
        with temporary.open("wb", buffering=0) as file:
            for piece in (_header(payload, rows), payload):
                _write_all(file.fileno(), piece)
            os.fdatasync(file.fileno())
        temporary.rename(final)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> tuple[bytes, int]:
    """Payload and row count of a file. Raises DamagedBatch, or OSError when it cannot be read."""
    content = path.read_bytes()
    if len(content) < _HEADER.size:
        raise DamagedBatch(f"{path.name} ends within its header")
    magic, checksum, rows, length = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise DamagedBatch(f"{path.name} does not begin as a batch does")
    payload = content[_HEADER.size :]
    if len(payload) != length:
        raise DamagedBatch(f"{path.name} holds {len(payload)} of {length} bytes")
    if _checksum(payload, rows) != checksum:
        raise DamagedBatch(f"{path.name} does not match its checksum")
    return payload, rows


def scan(directory: Path) -> list[Stored]:
    """Batches in a directory, older epochs first, then by number; temporary files are removed.

    An epoch's name is random, so its age is that of its oldest file. Raises OSError.
    """
    found: dict[str, list[Stored]] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if match := _NAME.fullmatch(entry.name):
                stat = entry.stat(follow_symlinks=False)
                stored = Stored(match[1], int(match[2]), stat.st_size, stat.st_mtime_ns)
                found.setdefault(stored.epoch, []).append(stored)
            elif entry.name.endswith(_TEMPORARY):
                Path(entry.path).unlink(missing_ok=True)
    epochs = sorted(found.values(), key=lambda batches: min(b.modified_ns for b in batches))
    return [batch for batches in epochs for batch in sorted(batches, key=lambda b: b.number)]


def sync_directory(directory: Path) -> None:
    """Make renames within the directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(payload: bytes, rows: int) -> bytes:
    return _HEADER.pack(_MAGIC, _checksum(payload, rows), rows, len(payload))


def _checksum(payload: bytes, rows: int) -> int:
    return zlib.crc32(payload, zlib.crc32(rows.to_bytes(4, "little")))


def _write_all(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
