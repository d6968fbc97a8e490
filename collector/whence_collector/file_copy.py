"""Copies one file whole or not at all, with a digest of what was read; also a program.

`python -m whence_collector.file_copy SOURCE TARGET` prints what it copied as JSON. Loads little:
whoever waits for it has stopped writing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from whence_collector.errors import DataDirectoryUnusable

PIECE_BYTES = 8 << 20
PARTIAL = ".partial"
MODE = 0o600  # it holds the arguments of everybody's programs


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy; writing stood still for ``paused_ns``."""

    path: Path
    size_bytes: int
    digest: str
    paused_ns: int


def copy(source: Path, target: Path) -> Copied:
    """Copy a file that this process does not have open, durably.

    Raises DataDirectoryUnusable where there is no room or no right.
    """
    began_ns = time.monotonic_ns()
    partial = target.with_name(target.name + PARTIAL)
    digest = blake3()
    try:
        with source.open("rb") as file, partial.open("xb") as out:
            os.fchmod(out.fileno(), MODE)
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
            size_bytes = out.tell()
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataDirectoryUnusable(
            f"{source} cannot be copied to {target} ({error.strerror}); make room there, or "
            "choose another place"
        ) from error
    return Copied(target, size_bytes, digest.hexdigest(), time.monotonic_ns() - began_ns)


def digest_of(file: Path) -> str:
    """Return the BLAKE3 of a file, hexadecimal. Raises OSError."""
    digest = blake3()
    with file.open("rb") as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def main() -> int:
    """Copy as told; return the exit status."""
    source, target = map(Path, sys.argv[1:])
    try:
        copied = copy(source, target)
    except DataDirectoryUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    told = {
        "size_bytes": copied.size_bytes,
        "digest": copied.digest,
        "paused_ns": copied.paused_ns,
    }
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
