"""Which system calls touch files, and how: a table, no decisions.

Numbers from arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl. The
kernel program looks each call up by number (struct whence_config).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from whenced.record import SYSCALLS, Work

if TYPE_CHECKING:
    import numpy.typing as npt

# call -> (number on x86-64, number in 32-bit programs or None, work)
X86: Final[dict[str, tuple[int | None, int | None, Work]]] = {
    "read": (0, 3, Work.READ),
    "pread64": (17, 180, Work.READ),
    "readv": (19, 145, Work.READ),
    "preadv": (295, 333, Work.READ),
    "preadv2": (327, 378, Work.READ),
    "write": (1, 4, Work.WRITE),
    "pwrite64": (18, 181, Work.WRITE),
    "writev": (20, 146, Work.WRITE),
    "pwritev": (296, 334, Work.WRITE),
    "pwritev2": (328, 379, Work.WRITE),
    "fallocate": (285, 324, Work.FALLOCATE),
    "open": (2, 5, Work.OPEN),
    "openat": (257, 295, Work.OPENAT),
    "openat2": (437, 437, Work.OPENAT2),
    "creat": (85, 8, Work.CREAT),
    "open_by_handle_at": (304, 342, Work.OPENAT),
    "close": (3, 6, Work.CLOSE),
    "close_range": (436, 436, Work.CLOSE_RANGE),
    "dup": (32, 41, Work.DUP),
    "dup2": (33, 63, Work.DUP),
    "dup3": (292, 330, Work.DUP),
    "fcntl": (72, 55, Work.FCNTL),
    "fcntl64": (None, 221, Work.FCNTL),
    "mmap": (9, 192, Work.MMAP),
    "old_mmap": (None, 90, Work.OLD_MMAP),
    "munmap": (11, 91, Work.MUNMAP),
    "mremap": (25, 163, Work.MREMAP),
    "mprotect": (10, 125, Work.MPROTECT),
    "pkey_mprotect": (329, 380, Work.MPROTECT),
    "io_submit": (209, 248, Work.IO_SUBMIT),
    "tee": (276, 315, Work.TEE),
    "vmsplice": (278, 316, Work.VMSPLICE),
    "sendfile64": (40, 239, Work.SENDFILE),
    "sendfile": (None, 187, Work.SENDFILE),
    "splice": (275, 313, Work.SPLICE),
    "copy_file_range": (326, 377, Work.SPLICE),
    "ftruncate": (77, 93, Work.FTRUNCATE),
    "ftruncate64": (None, 194, Work.FTRUNCATE),
    "ioctl": (16, 54, Work.IOCTL),
    "rename": (82, 38, Work.RENAME),
    "renameat": (264, 302, Work.RENAMEAT),
    "renameat2": (316, 353, Work.RENAMEAT2),
    "link": (86, 9, Work.LINK),
    "linkat": (265, 303, Work.LINKAT),
    "unlink": (87, 10, Work.UNLINK),
    "unlinkat": (263, 301, Work.UNLINKAT),
    "truncate": (76, 92, Work.TRUNCATE),
    "truncate64": (None, 193, Work.TRUNCATE),
}

# x32 has the numbers of x86-64, with a bit that the kernel program leaves out, but for these.
X32: Final[dict[str, tuple[int, Work]]] = {
    "ioctl": (514, Work.IOCTL),
    "readv": (515, Work.READ),
    "writev": (516, Work.WRITE),
    "vmsplice": (532, Work.VMSPLICE),
    "preadv": (534, Work.READ),
    "pwritev": (535, Work.WRITE),
    "preadv2": (546, Work.READ),
    "pwritev2": (547, Work.WRITE),
}


def work_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return (64-bit, 32-bit) tables of SYSCALLS bytes: number to Work."""
    native = np.zeros(SYSCALLS, dtype=np.uint8)
    compat = np.zeros(SYSCALLS, dtype=np.uint8)
    for number, compat_number, work in X86.values():
        if number is not None:
            native[number] = work
        if compat_number is not None:
            compat[compat_number] = work
    for number, work in X32.values():
        native[number] = work
    return native, compat
