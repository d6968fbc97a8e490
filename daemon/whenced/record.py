"""The kernel's records as numpy types: bytes to rows, pure.

Twin of bpf/record.h, field for field and name for name (nested structs are
flattened: ``process.tgid`` is ``process_tgid``); tests/conformance compares the
two through BTF.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.void]

_PROCESS: Final = [
    ("process_start_ns", "<u8"),
    ("process_tgid", "<u4"),
    ("process_exec_id", "<u4"),
]
_FILE: Final = [("file_inode", "<u8"), ("file_device", "<u4"), ("file_generation", "<u4")]

RECORD: Final = np.dtype(
    [
        ("sequence", "<u8"),
        ("at_ns", "<u8"),
        *_PROCESS,
        *_FILE,
        ("version", "<u8"),
        ("size_bytes", "<u8"),
        ("mtime_ns", "<u8"),
        ("value", "<u8"),
        ("text", "<u8"),
        ("text2", "<u8"),
        ("other_start_ns", "<u8"),
        ("other_tgid", "<u4"),
        ("other_exec_id", "<u4"),
        ("uid", "<u4"),
        ("login_uid", "<u4"),
        ("session", "<u4"),
        ("process_group", "<u4"),
        ("terminal", "<u4"),
        ("mount_ns", "<u4"),
        ("pid_ns", "<u4"),
        ("magic", "<u4"),
        ("cgroup_id", "<u8"),
        ("fd", "<i4"),
        ("kind", "<u2"),
        ("cpu", "<u2"),
        ("flags", "<u4"),
        ("nlink", "<u4"),
        ("name", "S40"),
    ]
)

TEXT_HEAD: Final = np.dtype(
    [("id", "<u8"), ("part", "<u4"), ("length", "<u4"), ("flags", "<u4"), ("chunk", "<u4")]
)

USE_KEY: Final = np.dtype([*_PROCESS, *_FILE])

USE: Final = np.dtype(
    [
        ("read_ops", "<u8"),
        ("read_bytes", "<u8"),
        ("write_ops", "<u8"),
        ("write_bytes", "<u8"),
        ("first_ns", "<u8"),
        ("last_write_ns", "<u8"),
        ("read_epoch", "<u4"),
        ("write_epoch", "<u4"),
        ("touched", "<u4"),
        ("epochs", "<u4"),
    ]
)

PROBE: Final = np.dtype(
    [
        *_FILE,
        ("version", "<u8"),
        ("size_bytes", "<u8"),
        ("mtime_ns", "<u8"),
        ("ctime_ns", "<u8"),
        ("writers", "<i4"),
        ("found", "<u4"),
        ("mode", "<u4"),
        ("magic", "<u4"),
    ]
)

COUNT: Final = np.dtype([("attempted", "<u8"), ("stored", "<u8"), ("lost", "<u8")])

# One column for each of CLASSES.
LOSER: Final = np.dtype([("lost", "<u8", (5,))])
PROCESS: Final = np.dtype(_PROCESS)
ALIVE: Final = np.dtype([*_PROCESS, ("flags", "<u4"), ("uid", "<u4")])
ALIVE_IN_SCOPE: Final = 1

SYSCALLS: Final = 1024
CONFIG: Final = np.dtype(
    [
        ("work", "u1", (SYSCALLS,)),
        ("work_compat", "u1", (SYSCALLS,)),
        ("cgroup_count", "<u4"),
        ("uid_count", "<u4"),
        ("uids", "<u4", (16,)),
        ("uring_cqe_argument", "<u4"),
        ("unused", "<u4"),
        ("cgroup_ids", "<u8", (8,)),
    ]
)

CONTROL: Final = np.dtype([("alive_ns", "<u8"), ("asleep", "<u4"), ("unused", "<u4")])


class Kind(IntEnum):
    """enum whence_kind."""

    FORK = 1
    EXEC = 2
    EXIT = 3
    READ = 4
    WRITE = 5
    OPEN_WRITE = 6
    CLOSE_WRITE = 7
    MAP = 8
    EXECUTE = 9
    TRUNCATE = 10
    RENAME = 11
    LINK = 12
    UNLINK = 13
    TRUNCATE_PATH = 14
    PIPE_READ = 15
    PIPE_WRITE = 16
    PROCESS_SEEN = 17
    FILE_SEEN = 18
    UNMAP = 19
    UNSEEN = 20


class Flag(IntEnum):
    """WHENCE_F_* of whence_record.flags.

    No IntFlag: each of its ``&`` makes an object, a fifth of the daemon's time in a flood.
    """

    CREATED = 1 << 0
    TRUNCATED = 1 << 1
    MAY_WRITE = 1 << 2
    NAMELESS = 1 << 3
    DIRECTORY = 1 << 4
    EXCHANGE = 1 << 5
    ARGS_TRUNCATED = 1 << 6
    PATH_TRUNCATED = 1 << 7
    SCRIPT = 1 << 8
    USER_TEXT = 1 << 9
    URING = 1 << 10
    TEXT_LOST = 1 << 11
    SYMLINK_FD = 1 << 12
    WRITABLE = 1 << 13
    LEAF = 1 << 15
    ENV_TRUNCATED = 1 << 14
    MAPPED = 1 << 16
    EXECUTABLE = 1 << 17
    INFERRED = 1 << 18
    OVERLAPPED = 1 << 19


class Part(IntEnum):
    """enum whence_part."""

    PATH = 1
    ARGS = 2
    CWD = 3
    SCRIPT = 4
    USER_OLD = 5
    USER_NEW = 6
    BASE_OLD = 7
    BASE_NEW = 8
    ENVIRONMENT = 9
    DIRECTORY = 10


class Work(IntEnum):
    """enum whence_work."""

    NONE = 0
    READ = 1
    WRITE = 2
    OPEN = 3
    CLOSE = 4
    MMAP = 5
    SENDFILE = 6
    SPLICE = 7
    FTRUNCATE = 8
    IOCTL = 9
    RENAME = 10
    RENAMEAT = 11
    LINK = 12
    LINKAT = 13
    UNLINK = 14
    UNLINKAT = 15
    TRUNCATE = 16
    IO_SUBMIT = 17
    RENAMEAT2 = 18
    OPENAT = 19
    OPENAT2 = 20
    CREAT = 21
    TEE = 22
    VMSPLICE = 23
    MUNMAP = 24
    MPROTECT = 25
    MREMAP = 26
    FALLOCATE = 27
    OLD_MMAP = 28
    DUP = 29
    FCNTL = 30
    CLOSE_RANGE = 31


class Unseen(IntEnum):
    """enum whence_unseen."""

    URING = 1
    URING_COMMAND = 2
    URING_NAME = 3
    AIO = 4
    GPUDIRECT = 5
    BLOCK_DEVICE = 6
    MAPPING = 7


# Classes of the conservation counters, in the order of enum whence_class.
CLASSES: Final = ("life", "touch", "name", "text", "aggregate")


def records(data: bytes | memoryview) -> Rows:
    """Return the records in ``data``, one RECORD row each.

    Raises ValueError when ``data`` is no whole number of records.
    """
    return np.frombuffer(data, dtype=RECORD)
