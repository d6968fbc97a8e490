"""A path on this host → the digest of its content. Asks nobody and never waits for a writer."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whence.errors import MissingFileError, MisuseError, UnreadableFileError

# Big enough that every core hashes a part of it, small enough for a smooth progress bar.
CHUNK_BYTES = 16 << 20

_DIGEST = re.compile(r"(blake3:|sha256:)?[0-9a-f]{6,64}", re.IGNORECASE)
_SPECIAL = (
    (stat.S_ISDIR, "a directory: ask for one file in it"),
    (stat.S_ISFIFO, "a FIFO, which keeps no content: ask for a file"),
    (stat.S_ISSOCK, "a socket, which keeps no content: ask for a file"),
    (stat.S_ISBLK, "a block device, not a file: ask for a file"),
    (stat.S_ISCHR, "a character device, not a file: ask for a file"),
)


@dataclass(frozen=True, slots=True)
class Content:
    """The digest of all bytes of a file, "blake3:<64 hex>", and their number."""

    digest: str
    size_bytes: int


def as_digest(text: str) -> str | None:
    """Return "blake3:<hex>" or "sha256:<hex>" for a digest or a prefix of it, else None."""
    text = text.rstrip("…")
    if _DIGEST.fullmatch(text) is None:
        return None
    text = text.lower()
    return text if ":" in text else f"blake3:{text}"


def wire_text(path: str) -> str:
    r"""Return a path as the wire writes it: a byte that is not UTF-8 becomes \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def real_path(path: str) -> str:
    """Return the absolute path without symbolic links, as capture names files, in wire text."""
    return wire_text(os.path.realpath(path))


def hash_file(path: str, progress: Callable[[int, int], None] | None = None) -> Content:
    """Return the digest of a regular file; `progress` gets (bytes done, bytes in all).

    Raises MissingFileError, UnreadableFileError, and MisuseError for an empty name.
    """
    if not path:
        raise MisuseError("an empty text names no file: give a path or a digest")
    try:
        _refuse_special(path, Path(path).stat())
        # O_NONBLOCK: should a FIFO have taken the file's place since, the open must not wait.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            return _hash_open(path, handle, progress)
        finally:
            os.close(handle)
    except OSError as error:
        raise _explain(path, error) from None


def _refuse_special(path: str, status: os.stat_result) -> None:
    for test, words in _SPECIAL:
        if test(status.st_mode):
            raise UnreadableFileError(f"{path} is {words}", 2)


def _hash_open(path: str, handle: int, progress: Callable[[int, int], None] | None) -> Content:
    # Reads, not mmap: a file that shrinks meanwhile would kill this process with SIGBUS.
    from blake3 import blake3  # noqa: PLC0415  only a question about a file needs it

    before = os.fstat(handle)
    _refuse_special(path, before)
    hasher = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(min(CHUNK_BYTES, max(before.st_size, 1 << 16))))
    done_bytes = 0
    while count := os.readv(handle, [buffer]):
        hasher.update(buffer[:count])
        done_bytes += count
        if progress is not None:
            progress(done_bytes, before.st_size)
    after = os.fstat(handle)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadableFileError(
            f"{path} changed while it was read: ask again when its writer is done", 1
        )
    return Content(digest=f"blake3:{hasher.hexdigest()}", size_bytes=done_bytes)


def _explain(path: str, error: OSError) -> MissingFileError | UnreadableFileError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return MissingFileError(_missing(path))
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnreadableFileError(
            f"{path} cannot be read by this user: ask as its owner, or by digest", 4
        )
    if error.errno == errno.ENAMETOOLONG:
        return UnreadableFileError("the name is longer than any file's: check what was typed", 2)
    if error.errno == errno.ELOOP:
        return UnreadableFileError(
            f"{path} is a loop of symbolic links: ask for the file itself", 2
        )
    words = os.strerror(error.errno or 0)
    return UnreadableFileError(f"{path} cannot be read ({words}): check its file system", 4)


def _missing(path: str) -> str:
    if Path(path).is_symlink():
        return f"{path} points to {os.path.realpath(path)}, which does not exist: check the link"
    return f"{path} does not exist: check the name, or ask by digest"
