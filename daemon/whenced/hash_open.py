"""Finding the very file that was touched, and opening it only if reading it can do no harm.

Opens; reads no content and keeps no descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple, Protocol

from whenced import door, openat
from whenced.hash_messages import ANY, HashReply, HashRequest, HashState

_FUSE: Final = 0x65735546
#: Superblock magics of file systems that hold no content of their own (linux/magic.h).
_PSEUDO: Final = frozenset(
    (
        0x00009FA0,  # proc
        0x62656572,  # sysfs
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0x73636673,  # securityfs
        0x62656570,  # configfs
        0x63677270,  # cgroup2
        0x0027E0EB,  # cgroup
        0xCAFE4A11,  # bpf
        0xDE5E81E4,  # efivarfs
        0x6165676C,  # pstore
        0xF97CFF8C,  # selinux
        0x42494E4D,  # binfmt_misc
        0x19800202,  # mqueue
        0x00000187,  # autofs
    )
)


class ProbeResult(NamedTuple):  # four for each file: made in a fifth of a dataclass's time
    """What the kernel says of one descriptor (struct whence_probe); ANY where it cannot."""

    device: int
    inode: int
    generation: int
    version: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    writers: int
    mode: int
    magic: int


class Probe(Protocol):
    """Asks the kernel about a descriptor of this process, without any I/O."""

    def __call__(self, fd: int) -> ProbeResult | None:
        """Return what `fd` stands for, None when there is no such descriptor."""


class OpenedFile(NamedTuple):
    """A descriptor for reading whose identity was the requested one when it was opened."""

    fd: int
    size_bytes: int


def fstat_probe(fd: int) -> ProbeResult | None:
    """Stand in for the kernel probe where there is none: no version, no device, no writers.

    stat(2)'s device is left out because it is not the kernel's on btrfs and overlayfs.
    """
    try:
        return as_probed(os.fstat(fd))
    except OSError:
        return None


def as_probed(st: os.stat_result) -> ProbeResult:
    """Return what stat(2) knows of what the kernel probe tells."""
    return ProbeResult(
        ANY, st.st_ino, ANY, ANY, st.st_size, st.st_mtime_ns, st.st_ctime_ns, 0, st.st_mode, 0
    )


def open_requested(request: HashRequest, probe: Probe) -> OpenedFile | HashReply:
    """Open the very file that was touched, by its path or by the descriptor of the process.

    Returns a reply that says why not where it is gone or must not be read.
    """
    if reason := _forbidden(request.magic):
        return refused(request, reason)
    missing = "deleted before it could be read"
    for locate in _OWN_ROOT_FIRST if request.own_root else _IN_ORDER:
        try:
            located = locate(request)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.EBADF):
                missing = f"cannot be opened: {os.strerror(error.errno or errno.EIO)}"
            continue
        try:
            found = _reopened(request, located, probe)
        except OSError as error:  # a stale handle of a network file system, a failing probe
            return refused(request, f"cannot be opened: {error.strerror}")
        finally:
            os.close(located)
        if found is not None:
            return found
        missing = "replaced before it could be read"
    return refused(request, missing)


def refused(request: HashRequest, reason: str, state: HashState = "unhashed") -> HashReply:
    """Return a reply without a digest."""
    return HashReply(request.ticket, state, reason=reason)


def _by_path(request: HashRequest) -> int:
    if not request.pid:
        return openat.locate(openat.own_root(), request.path)
    root = door.open_root(request.pid)
    try:
        return openat.locate(root, request.path)
    finally:
        os.close(root)


def _by_own_path(request: HashRequest) -> int:
    """Most processes share our root, so the path still leads there after they are gone."""
    if not request.pid or request.inode == ANY:
        raise FileNotFoundError(errno.ENOENT, "no other root to try")
    return openat.locate(openat.own_root(), request.path)


def _by_descriptor(request: HashRequest) -> int:
    if not request.pid or request.fd < 0 or request.inode == ANY:
        raise FileNotFoundError(errno.ENOENT, "no descriptor to try")
    return door.open_descriptor(request.pid, request.fd)


_IN_ORDER: Final = (_by_path, _by_own_path, _by_descriptor)
#: A process that has a root of its own in our mount namespace is rare, and is found second.
_OWN_ROOT_FIRST: Final = (_by_own_path, _by_path, _by_descriptor)


def _reopened(request: HashRequest, located: int, probe: Probe) -> OpenedFile | HashReply | None:
    """Return None when `located` is another file than the requested one."""
    seen = probe(located)  # before fstat: the probe asks no file system
    if seen is None or not same_file(request, seen):
        return None
    if reason := _forbidden(seen.magic):
        return refused(request, reason)
    if not stat.S_ISREG(seen.mode):
        return refused(request, "not a regular file")
    return OpenedFile(openat.reopen(located), seen.size_bytes)


def same_file(request: HashRequest, seen: ProbeResult) -> bool:
    """Say whether the kernel identity is the requested one, as far as both are known."""
    return (
        agree(request.inode, seen.inode)
        and agree(request.device, seen.device)
        and agree(request.generation, seen.generation)
    )


def agree(expected: int, found: int) -> bool:
    """Compare two numbers of which either may be ANY."""
    return ANY in (expected, found) or expected == found


def _forbidden(magic: int) -> str:
    if magic == _FUSE:
        return "on a FUSE file system, which may never answer"
    if magic in _PSEUDO:
        return "on a pseudo file system, which has no content of its own"
    return ""
