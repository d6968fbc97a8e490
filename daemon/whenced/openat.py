"""Opening files that somebody hostile may have prepared: no symbolic link, no surprise, no wait.

Only opens; never reads content and never decides whether a file may be hashed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from typing import Any, Final

#: Same number on every architecture (unified table since Linux 5.1).
_OPENAT2: Final = 437
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08
_IN_ROOT: Final = 0x10
_PATH_MAX: Final = 4096
_RETRIES: Final = 8

_READ_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_HOW_BYTES: Final = ctypes.sizeof(_OpenHow)


def open_root(pid: int) -> int:
    """Return an O_PATH descriptor of the root directory of `pid` (0: our own).

    Raises OSError when the process is gone.
    """
    root = f"/proc/{pid}/root" if pid else "/"
    return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@functools.cache
def own_root() -> int:
    """Return an O_PATH descriptor of our own root directory, which is never closed."""
    return open_root(0)


def locate(directory: int, path: bytes, *, links_inside: bool = False) -> int:
    """Return an O_PATH descriptor of `path`, taken relative to `directory`.

    A leading slash is ignored; ".." never leads out of `directory`. With `links_inside`
    symbolic links are followed as long as they stay below it, else none is. Raises OSError
    (ELOOP for a link that is refused).
    """
    relative = path.lstrip(b"/") or b"."
    if len(relative) >= _PATH_MAX:
        return _walk(directory, relative)
    resolve = _BENEATH if links_inside else _IN_ROOT | _NO_SYMLINKS
    try:
        return _openat2(directory, relative, resolve | _NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    return _walk(directory, relative)


def reopen(located: int) -> int:
    """Return a descriptor for reading of what the O_PATH descriptor `located` stands for.

    Never waits for a peer, never becomes a controlling terminal, leaves the access time alone
    where that is allowed. Raises OSError.
    """
    name = str(located)
    try:
        return os.open(name, _READ_FLAGS | os.O_NOATIME, dir_fd=_own_descriptors(os.getpid()))
    except PermissionError:  # O_NOATIME is for the owner or CAP_FOWNER only
        return os.open(name, _READ_FLAGS, dir_fd=_own_descriptors(os.getpid()))


@functools.lru_cache(1)  # a child after fork has descriptors of its own
def _own_descriptors(pid: int) -> int:
    """Return an O_PATH descriptor of /proc/self/fd, which is never closed."""
    return os.open(f"/proc/{pid}/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_regular(directory: int, path: bytes, *, links_inside: bool = False) -> int:
    """Return a descriptor for reading of the regular file `path` below `directory`.

    Raises OSError; EINVAL when it is no regular file.
    """
    located = locate(directory, path, links_inside=links_inside)
    try:
        if not stat.S_ISREG(os.fstat(located).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        return reopen(located)
    finally:
        os.close(located)


def names_in(directory: int, path: bytes = b"") -> list[bytes]:
    """Return the names in the directory `path` below `directory`, sorted. Raises OSError."""
    located = locate(directory, path)
    try:
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=located)
    finally:
        os.close(located)
    try:
        return sorted(map(os.fsencode, os.listdir(listing)))  # noqa: PTH208 - of a descriptor
    finally:
        os.close(listing)


@functools.cache
def _how(resolve: int) -> Any:
    """Return the argument of openat2 for some rules; the kernel only reads it."""
    return ctypes.byref(_OpenHow(os.O_PATH | os.O_CLOEXEC, 0, resolve))


def _openat2(directory: int, path: bytes, resolve: int) -> int:
    how = _how(resolve)
    for _ in range(_RETRIES):
        fd = _libc.syscall(_OPENAT2, directory, path, how, _HOW_BYTES)
        if fd >= 0:
            return int(fd)
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break  # EAGAIN: a rename raced with "..", worth another try
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def _walk(directory: int, path: bytes) -> int:
    """Do component by component what openat2 does at once (kernels before 5.6, long paths)."""
    here = os.open(".", os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
    for name in filter(None, path.split(b"/")):
        try:
            following = _step(here, name)
        finally:
            os.close(here)
        here = following
    return here


def _step(directory: int, name: bytes) -> int:
    if name == b"..":
        raise OSError(errno.EXDEV, "the path climbs", os.fsdecode(name))
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, "symbolic link", os.fsdecode(name))
    return fd
