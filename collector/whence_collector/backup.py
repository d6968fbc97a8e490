"""A copy of the database while it serves, what proves it whole, and putting it back.

Copies files; runs no SQL of its own (store.py reads a copy back).
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from whence_collector.database import rows_by_table
from whence_collector.errors import BackupUnusable, DataDirectoryUnusable
from whence_collector.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

PIECE_BYTES = 8 << 20
PARTIAL = ".partial"
REPLACED = ".before-restore"


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy; writing stood still for ``paused_ns``."""

    path: Path
    size_bytes: int
    digest: str
    paused_ns: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What reading a copy back found: rows of each table, every column of every row read."""

    rows: dict[str, int]

    @property
    def total(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def start(store: Store) -> Future[Copied]:
    """Copy the database beside itself, on the writer's thread: no commit happens meanwhile."""
    target = store.database.with_name(f"backup-{secrets.token_hex(8)}.duckdb")
    return store.still(lambda database: copy(database, target))


def copy(source: Path, target: Path) -> Copied:
    """Copy a file so that it is there whole and durable, or not at all.

    Raises DataDirectoryUnusable where there is no room or no right.
    """
    began_ns = time.monotonic_ns()
    partial = target.with_name(target.name + PARTIAL)
    digest = blake3()
    try:
        with source.open("rb") as file, partial.open("xb") as out:
            os.fchmod(out.fileno(), 0o600)
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


def verify(file: Path, digest: str | None = None) -> Proof:
    """Read a copy back from its disk, every byte and every row.

    Raises BackupUnusable where it differs from the digest or is no database that this version
    can serve.
    """
    try:
        if digest is not None and digest_of(file) != digest:
            raise BackupUnusable(f"{file} is not what was written; its disk is at fault")
        return Proof(rows_by_table(file))
    except OSError as error:
        raise BackupUnusable(f"{file} cannot be read ({error.strerror})") from error


def restore(file: Path, database: Path) -> Proof:
    """Put a verified copy in the place of the database; what stood there is kept beside it.

    The caller holds the database's lock or knows that no collector runs. Raises BackupUnusable,
    DataDirectoryUnusable.
    """
    proof = verify(file)
    target = database.with_name(database.name + PARTIAL)
    target.unlink(missing_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    copied = copy(file, target)
    owner = database.parent.stat()
    os.chown(target, owner.st_uid, owner.st_gid)
    verify(target, copied.digest)
    for old in (database, _log_of(database)):
        if old.exists():
            old.replace(old.with_name(old.name + REPLACED))
    target.replace(database)
    return proof


def digest_of(file: Path) -> str:
    """Return the BLAKE3 of a file, hexadecimal. Raises OSError."""
    digest = blake3()
    with file.open("rb") as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _log_of(database: Path) -> Path:
    """DuckDB's write-ahead log: rows of the old file, wrong beside another."""
    return database.with_name(database.name + ".wal")
