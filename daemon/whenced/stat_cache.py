"""Digests of content that was read before, keyed by what stat(2) says, kept across restarts.

Never trusted where a change could have left the key alone (git's racy rule); never fatal.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

#: An entry counts only if ctime is older than the start of its hashing by more than this: two
#: changes within one tick of the file system's clock (up to 10 ms) have the same ctime.
RACY_NS: Final = 10_000_000
LIMIT_ENTRIES: Final = 1_000_000
_PRUNE_EVERY: Final = 1024

_log: Final = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS digests (
    device INTEGER, inode INTEGER, generation INTEGER,
    size_bytes INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    blake3 BLOB, sha256 BLOB, hashed_at_ns INTEGER,
    PRIMARY KEY (device, inode, generation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS digests_by_age ON digests (hashed_at_ns);
"""


@dataclass(frozen=True, slots=True)
class StatKey:
    """Identity and time stamps of one content: `device` as stat(2) gives it, times in ns."""

    device: int
    inode: int
    generation: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


class KnownDigest(NamedTuple):
    """Raw digests; `sha256` is empty when it was not asked for."""

    blake3: bytes
    sha256: bytes = b""


class StatCache:
    """The cache. Belongs to the one thread that built it."""

    def __init__(self, path: Path, limit_entries: int = LIMIT_ENTRIES) -> None:
        """Open or create the file at `path`; one that is damaged is renamed aside."""
        self._path = path
        self._limit_entries = limit_entries
        self._puts = 0
        self._connection = self._open()

    def get(self, key: StatKey) -> KnownDigest | None:
        """Return the digests of exactly this content."""
        try:
            row = self._connection.execute(
                "SELECT blake3, sha256 FROM digests WHERE device = ? AND inode = ? "
                "AND generation = ? AND size_bytes = ? AND mtime_ns = ? AND ctime_ns = ?",
                _columns(key),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return None
        return None if row is None else KnownDigest(row[0], row[1])

    def put(self, key: StatKey, digest: KnownDigest, started_ns: int) -> bool:
        """Remember `digest`, whose reading began at `started_ns` (Unix time).

        Return False, and remember nothing, where the racy rule forbids it.
        """
        if started_ns - key.ctime_ns <= RACY_NS:
            return False
        row = (*_columns(key), digest.blake3, digest.sha256, started_ns)
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            self._puts += 1
            if self._puts % min(_PRUNE_EVERY, self._limit_entries) == 0:
                self._prune()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return False
        return True

    def flush(self) -> None:
        """Make what was put survive a crash of this process."""
        try:
            self._connection.commit()
        except sqlite3.DatabaseError as error:
            self._recover(error)

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._connection.close()

    def _prune(self) -> None:
        (count,) = self._connection.execute("SELECT count(*) FROM digests").fetchone()
        if count > self._limit_entries:
            self._connection.execute(
                "DELETE FROM digests WHERE (device, inode, generation) IN (SELECT device, inode, "
                "generation FROM digests ORDER BY hashed_at_ns LIMIT ?)",
                (count - self._limit_entries,),
            )

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(str(self._path))
        except sqlite3.OperationalError as error:
            _log.warning("%s cannot be opened (%s): digests are not kept", self._path, error)
            return _connect(":memory:")
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return _connect(str(self._path))

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        # A full disk or a lock is no damage: what is there stays good, this entry is lost.
        if isinstance(error, sqlite3.OperationalError):
            _log.warning("%s: %s; this digest is not kept", self._path, error)
            return
        self._connection.close()
        self._set_aside(error)
        self._connection = self._open()

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_name(self._path.name + ".damaged")
        _log.warning("%s is damaged (%s): kept as %s, starting anew", self._path, error, aside)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._path.replace(aside)


def _connect(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=1.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        connection.execute("SELECT * FROM digests ORDER BY hashed_at_ns LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _columns(key: StatKey) -> tuple[int, ...]:
    identity = (_signed(key.device), _signed(key.inode), key.generation)
    return (*identity, key.size_bytes, key.mtime_ns, key.ctime_ns)


def _signed(value: int) -> int:
    """SQLite integers are signed; inode numbers use all 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
