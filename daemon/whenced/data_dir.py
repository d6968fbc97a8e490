"""The daemon's part of the data directory: made, locked and of a layout that we know.

May not look inside the files that it names; their modules do.
"""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from whenced.errors import DataDirBusy, DataDirTooNew, DataDirUnusable

# Goes up when an older whenced could not use, or would harm, what a newer one left.
LAYOUT_VERSION = 1


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where the daemon keeps what."""

    daemon: Path

    @property
    def spool(self) -> Path:
        """Batches that are not acked."""
        return self.daemon / "spool"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.daemon / "whenced.sock"

    @property
    def stat_cache(self) -> Path:
        """Digests by stat."""
        return self.daemon / "stat_cache.sqlite"

    def stat_cache_of(self, user: str | None) -> Path:
        """Digests by stat, where a hasher with a user of its own can write. Raises OSError."""
        if user is None:
            return self.stat_cache
        account = pwd.getpwnam(user)
        folder = self.daemon.parent / "hasher"
        folder.mkdir(exist_ok=True, mode=0o700)
        os.chown(folder, account.pw_uid, account.pw_gid)
        return folder / self.stat_cache.name

    def number_start(self, boot_id: str, second: int) -> int:
        """Return a number of this start of capture that is new on this boot, and grows.

        That is the second of the boot; where another start had it already, the next that is free.
        Versions of files begin with it, and two starts must share none. Raises DataDirUnusable.
        """
        file = self.daemon / "last_start"
        fresh = file.with_name("last_start.new")
        with suppress(FileNotFoundError, ValueError):
            boot, last = file.read_text(encoding="ascii").split()
            second = max(second, int(last) + 1) if boot == boot_id else second
        try:
            fresh.write_text(f"{boot_id} {second}\n", encoding="ascii")
            fresh.replace(file)
        except OSError as error:
            raise _unusable(self.daemon.parent, error) from error
        return second


@contextmanager
def claimed(data_dir: Path) -> Iterator[DataDir]:
    """Own ``<data_dir>/daemon`` while the context lasts; the lock dies with the process.

    Raises DataDirUnusable, DataDirBusy or DataDirTooNew.
    """
    # 0700: the spool holds the arguments of everybody's programs.
    here = DataDir(data_dir / "daemon")
    try:
        here.spool.mkdir(parents=True, exist_ok=True)
        here.daemon.chmod(0o700)
        lock = os.open(here.daemon / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    try:
        _lock(lock, data_dir)
        _check_version(here.daemon / "version", data_dir)
        yield here
    finally:
        os.close(lock)


def _lock(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise DataDirBusy(
            f"another whenced (process {owner}) works in {data_dir}: "
            "stop it or set WHENCE_DATA_DIR to another directory"
        ) from error
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _check_version(file: Path, data_dir: Path) -> None:
    try:
        found = file.read_text(encoding="ascii") if file.exists() else None
        if found is None:
            file.write_text(f"{LAYOUT_VERSION}\n", encoding="ascii")
            return
        version = int(found)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    except ValueError as error:
        raise DataDirUnusable(
            f"{file} does not hold a number: restore it or set WHENCE_DATA_DIR to a new directory"
        ) from error
    if version > LAYOUT_VERSION:
        raise DataDirTooNew(
            f"{data_dir} has layout {version} and this whenced knows {LAYOUT_VERSION}: "
            "upgrade whence or set WHENCE_DATA_DIR to a new directory"
        )


def _unusable(data_dir: Path, error: OSError) -> DataDirUnusable:
    return DataDirUnusable(
        f"{data_dir} cannot be used ({error.strerror}): free space there, or set WHENCE_DATA_DIR "
        "to a directory that root can write"
    )
