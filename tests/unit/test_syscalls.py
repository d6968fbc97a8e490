"""The table of system calls that touch files."""

from __future__ import annotations

import pytest

from whenced.record import SYSCALLS, Work
from whenced.syscalls import X32, X86, work_tables

# arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl of Linux 6.18
NATIVE = [
    (0, Work.READ), (1, Work.WRITE), (3, Work.CLOSE), (9, Work.MMAP), (16, Work.IOCTL),
    (17, Work.READ), (18, Work.WRITE), (40, Work.SENDFILE), (77, Work.FTRUNCATE),
    (76, Work.TRUNCATE), (82, Work.RENAME), (87, Work.UNLINK), (263, Work.UNLINKAT),
    (265, Work.LINKAT), (275, Work.SPLICE), (326, Work.SPLICE), (327, Work.READ),
    (328, Work.WRITE), (285, Work.FALLOCATE), (329, Work.MPROTECT), (436, Work.CLOSE_RANGE),
    (515, Work.READ), (547, Work.WRITE),
]  # fmt: skip
COMPAT = [
    (3, Work.READ), (4, Work.WRITE), (6, Work.CLOSE), (192, Work.MMAP), (54, Work.IOCTL),
    (180, Work.READ), (187, Work.SENDFILE), (239, Work.SENDFILE), (93, Work.FTRUNCATE),
    (193, Work.TRUNCATE), (38, Work.RENAME), (10, Work.UNLINK), (377, Work.SPLICE),
]  # fmt: skip


@pytest.mark.parametrize(("number", "work"), NATIVE)
def test_calls_of_64_bit_programs(number: int, work: Work) -> None:
    assert work_tables()[0][number] == work


@pytest.mark.parametrize(("number", "work"), COMPAT)
def test_calls_of_32_bit_programs(number: int, work: Work) -> None:
    assert work_tables()[1][number] == work


@pytest.mark.parametrize("number", [24, 35, 39, 202, 231, 232, 281])
def test_calls_without_files_are_no_work(number: int) -> None:
    """sched_yield, nanosleep, getpid, futex, exit_group, epoll_wait, epoll_pwait."""
    assert work_tables()[0][number] == Work.NONE


@pytest.mark.parametrize("column", [0, 1])
def test_no_number_is_given_twice(column: int) -> None:
    numbers = [row[column] for row in X86.values() if row[column] is not None]

    assert len(numbers) == len(set(numbers))


def test_tables_hold_every_call_and_nothing_else() -> None:
    native, compat = work_tables()

    assert (native.size, compat.size) == (SYSCALLS, SYSCALLS)
    assert native.astype(bool).sum() == len(X32) + sum(row[0] is not None for row in X86.values())
    assert compat.astype(bool).sum() == sum(row[1] is not None for row in X86.values())


def test_every_call_does_some_work() -> None:
    assert Work.NONE not in {work for _, _, work in X86.values()}
