"""Paths that came as strings: symbolic links in their parents resolved, and what stands there.

The kernel side sends renames, links and deletions as the strings that the
program passed. Never asks a FUSE or network mount, which may never answer.
"""

from __future__ import annotations

import errno
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
_LINKS_LIMIT: Final = 40  # include/linux/namei.h MAXSYMLINKS
_SLOW: Final = (b"fuse", b"nfs", b"cifs", b"smb", b"ceph", b"9p", b"lustre", b"autofs")


def slow_mounts(mountinfo: bytes) -> tuple[bytes, ...]:
    """Mount points of file systems that may hang, from a /proc/PID/mountinfo text."""
    found = []
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(b" - ")
        if tail.startswith(_SLOW) and len(fields := head.split(b" ")) > 4:
            found.append(fields[4].decode("unicode_escape").encode("latin-1"))
    return tuple(found)


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


class Resolver:
    """Remembers directories that the kernel named: their paths hold no symbolic link."""

    def __init__(
        self,
        probe: Probe,
        clock: Callable[[], float] = time.monotonic,
        root_of: Callable[[int], bytes] = _root_of,
        mounts_of: Callable[[int], bytes] = _read_mounts,
    ) -> None:
        """Ask ``probe`` who a file is; the two others find the root and mounts of a process."""
        self._probe = probe
        self._clock = clock
        self._root_of = root_of
        self._mounts_of = mounts_of
        self._directories: set[bytes] = set()
        self._slow: dict[int, tuple[float, tuple[bytes, ...]]] = {}

    def note(self, path: bytes) -> None:
        """Take note of a path that the kernel itself walked in our own mount namespace."""
        if len(self._directories) > _KNOWN_DIRECTORIES:
            self._directories.clear()
        self._directories.add(path[: path.rfind(b"/")] or b"/")

    def canonical(self, tgid: int, path: bytes) -> bytes:
        """``path`` as the kernel would walk it in the root of a process, the last name unfollowed.

        Unchanged where that cannot be asked. ``tgid`` 0 stands for our own root.
        """
        if not tgid and posixpath.dirname(path) in self._directories:
            return path
        return self._real(tgid, path) or path

    def is_directory(self, tgid: int, path: bytes) -> bool:
        """Whether a directory, not a link to one, stands at ``path`` now."""
        real = self._real(tgid, path)
        if real is None:
            return False
        try:
            return stat.S_ISDIR(os.lstat(self._root_of(tgid) + real).st_mode)
        except OSError:
            return False

    def _real(self, tgid: int, path: bytes) -> bytes | None:
        """None where a step does not exist or leads to a mount that may hang."""
        parent, leaf = posixpath.split(path)
        real = self._walked(tgid, parent)
        if real is None:
            return None
        real = posixpath.join(real, leaf)
        return None if self._may_hang(tgid, real) else real

    def _walked(self, tgid: int, path: bytes) -> bytes | None:
        """Step by step, unlike realpath(): links belong to that root, and none may hang us."""
        root = self._root_of(tgid)
        real, left, links = b"", path.split(b"/")[::-1], 0
        while left:
            name = left.pop()
            if name == b"..":
                real = real.rpartition(b"/")[0]
            if name in (b"", b".", b".."):
                continue
            step = real + b"/" + name
            if links > _LINKS_LIMIT or self._may_hang(tgid, step):
                return None
            try:
                target = os.readlink(root + step)  # noqa: PTH115 (bytes)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    return None
                real = step  # no link
                continue
            links += 1
            real = b"" if target.startswith(b"/") else real
            left += target.split(b"/")[::-1]
        return real or b"/"

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
        mounts = self._mounts_of(tgid) or self._mounts_of(0)
        self._slow[tgid] = (now, slow_mounts(mounts))
        return self._slow[tgid][1]
