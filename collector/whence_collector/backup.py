"""A copy of the database while it serves, what proves it whole, and putting it back.

Copies files; runs no SQL of its own (store.py reads a copy back).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence_collector.database import rows_by_table
from whence_collector.errors import BackupUnusable, DataDirectoryUnusable
from whence_collector.file_copy import PARTIAL, Copied, copy, digest_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from whence_collector.store import Store

REPLACED = ".before-restore"


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
    return store.still(lambda database: copy_beside(database, target))


def copy_beside(database: Path, target: Path) -> Copied:
    """Copy a file that this process has open, by a process that has not.

    DuckDB holds the file by a lock that ends when its process closes any descriptor of the file
    (fcntl(2), "record locks"): one `open` here, and a second collector could take the database.
    """
    command = [sys.executable, "-m", "whence_collector.file_copy", str(database), str(target)]
    folder = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": folder},
    )
    if done.returncode:
        raise DataDirectoryUnusable(done.stderr.strip() or f"{database} could not be copied")
    told = json.loads(done.stdout)
    return Copied(target, told["size_bytes"], told["digest"], told["paused_ns"])


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


def _log_of(database: Path) -> Path:
    """DuckDB's write-ahead log: rows of the old file, wrong beside another."""
    return database.with_name(database.name + ".wal")
