"""Paths that came as strings: symbolic links in their parents resolved, and what stands there.

The kernel side sends renames, links and deletions as the strings that the
program passed. Never asks a FUSE or network mount, which may never answer.
"""

from __future__ import annotations

import os
import posixpath
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from whenced import openat
from whenced.event import FileKey

if TYPE_CHECKING:
    from whenced.hash_open import Probe

_KNOWN_DIRECTORIES: Final = 100_000
_MOUNTS_FRESH_S: Final = 5.0
_SLOW: Final = (b"fuse", b"nfs", b"cifs", b"smb", b"ceph", b"9p", b"lustre", b"autofs")


def slow_mounts(mountinfo: bytes) -> tuple[bytes, ...]:
    """Mount points of file systems that may hang, from a /proc/PID/mountinfo text."""
    found = []
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(b" - ")
        if tail.startswith(_SLOW) and len(fields := head.split(b" ")) > 4:
            found.append(fields[4].decode("unicode_escape").encode("latin-1"))
    return tuple(found)


class Resolver:
    """Remembers directories that the kernel named: their paths hold no symbolic link."""

    def __init__(self, probe: Probe, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._directories: set[bytes] = set()
        self._slow: dict[int, tuple[float, tuple[bytes, ...]]] = {}

    def note(self, path: bytes) -> None:
        """Take note of a path that the kernel itself walked."""
        if len(self._directories) > _KNOWN_DIRECTORIES:
            self._directories.clear()
        self._directories.add(posixpath.dirname(path))

    def canonical(self, tgid: int, path: bytes) -> bytes:
        """``path`` as the kernel would walk it; unchanged where that cannot be asked."""
        parent, leaf = posixpath.split(path)
        if parent in self._directories or self._may_hang(tgid, path):
            return path
        root = _root_of(tgid)
        try:
            real = os.path.realpath(root + parent, strict=True)
        except OSError:
            return path
        if root and real.startswith(root):
            real = real[len(root) :] or b"/"
        return posixpath.join(real, leaf)

    def is_directory(self, tgid: int, path: bytes) -> bool:
        """Whether a directory stands at ``path`` now."""
        if self._may_hang(tgid, path):
            return False
        try:
            return stat.S_ISDIR(os.lstat(_root_of(tgid) + path).st_mode)
        except OSError:
            return False

    def file_at(self, tgid: int, path: bytes) -> FileKey | None:
        """Kernel identity of the regular file at ``path``, None when there is none."""
        if self._may_hang(tgid, path):
            return None
        try:
            root = openat.open_root(tgid)
        except OSError:
            return None
        try:
            fd = openat.locate(root, path)
        except OSError:
            return None
        finally:
            os.close(root)
        try:
            found = self._probe(fd)
        finally:
            os.close(fd)
        if found is None or not stat.S_ISREG(found.mode):
            return None
        return FileKey(found.device, found.inode, found.generation)

    def _may_hang(self, tgid: int, path: bytes) -> bool:
        slow = self._slow_of(tgid)
        return any(path == mount or path.startswith(mount + b"/") for mount in slow)

    def _slow_of(self, tgid: int) -> tuple[bytes, ...]:
        now = self._clock()
        known = self._slow.get(tgid)
        if known is not None and now - known[0] < _MOUNTS_FRESH_S:
            return known[1]
        if len(self._slow) > 1000:
            self._slow.clear()
        mounts = _read_mounts(tgid) or _read_mounts(0)
        self._slow[tgid] = (now, slow_mounts(mounts))
        return self._slow[tgid][1]


def _root_of(tgid: int) -> bytes:
    """Prefix that leads into the mount namespace of a process; empty when it is ours or gone."""
    root = b"/proc/%d/root" % tgid
    try:
        theirs = Path(f"/proc/{tgid}/ns/mnt").stat()
        if theirs.st_ino == Path("/proc/self/ns/mnt").stat().st_ino:
            return b""
    except OSError:
        return b""
    return root


def _read_mounts(tgid: int) -> bytes:
    try:
        with open(f"/proc/{tgid or 'self'}/mountinfo", "rb") as file:  # noqa: PTH123 (procfs, bytes)
            return file.read()
    except OSError:
        return b""
