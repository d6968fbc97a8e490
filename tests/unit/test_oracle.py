"""The kernel's account of a process against what was seen of it."""

from __future__ import annotations

import socket
import struct
from typing import Any

import numpy as np
import pytest

from whenced.oracle import Oracle
from whenced.record import RECORD, USE, USE_KEY, Kind, Rows
from whenced.rows import AccountRow, ProcessKey
from whenced.taskstats import Account, Accounts, account_in

MB = 1 << 20
S = 1_000_000_000
LIFE = (101, 5 * S)
KEY = ProcessKey(101, 5 * S, 1)


class Known:
    """Processes of which one was seen from birth."""

    def born(self, tgid: int, start_ns: int) -> ProcessKey | None:
        """Give its newest image."""
        return KEY if (tgid, start_ns) == LIFE else None


def ended(at_ns: int = 6 * S, life: tuple[int, int] = LIFE, **moved: int) -> Rows:
    """The record of an end, with what was moved elsewhere."""
    rows = np.zeros(2, dtype=RECORD)
    rows["process_tgid"], rows["process_start_ns"] = life
    rows["kind"] = [int(Kind.READ), int(Kind.EXIT)]
    rows["at_ns"] = at_ns
    for name, value in moved.items():
        rows[name][1] = value
    return rows


def used(read: int, written: int, life: tuple[int, int] = LIFE) -> tuple[Rows, Rows]:
    """Two rows of uses of one process, two files, halves each."""
    keys, uses = np.zeros(2, dtype=USE_KEY), np.zeros(2, dtype=USE)
    keys["process_tgid"], keys["process_start_ns"] = life
    keys["file_inode"] = [1, 2]
    uses["read_bytes"], uses["write_bytes"] = read // 2, written // 2
    return keys, uses


def account(read: int, written: int, tgid: int = 101, pid: int = 101) -> Account:
    return Account(tgid, pid, read, written, 0, 0)


def oracle() -> Oracle:
    return Oracle(Known(), 0)


def compared(asked: Oracle, now_ns: int = 20 * S) -> list[AccountRow]:
    return asked.rows(now_ns, now_ns)


def test_threads_add_up_and_so_do_both_sides() -> None:
    asked = oracle()
    asked.accounts([account(MB, 0, pid=101), account(MB, 3 * MB, pid=102)], 6 * S)
    asked.uses(*used(MB, 2 * MB))
    asked.uses(*used(MB // 2, MB))
    asked.received(ended(version=MB // 2))

    (row,) = compared(asked)

    assert (row.process, row.read_bytes, row.written_bytes) == (KEY, 2 * MB, 3 * MB)
    assert (row.read_seen_bytes, row.written_seen_bytes) == (2 * MB, 3 * MB)
    assert row.allowed_bytes == 3 * 16 * 1024


def test_what_io_uring_moved_hides_nothing() -> None:
    asked = oracle()
    asked.accounts([account(2 * MB, 0)], 6 * S)
    asked.uses(*used(5 * MB, 0))
    asked.received(ended(mtime_ns=4 * MB))

    (row,) = compared(asked)

    assert (row.read_bytes, row.read_seen_bytes) == (2 * MB, MB)


def test_both_sides_must_be_whole_before_they_are_compared() -> None:
    asked = oracle()
    asked.received(ended(at_ns=6 * S))
    early = (asked.rows(6 * S + S // 2, 7 * S), asked.rows(20 * S, 6 * S))
    asked.accounts([account(MB, 0)], 7 * S)

    assert early == ([], [])
    assert [row.read_bytes for row in compared(asked)] == [MB]


def test_who_was_not_seen_from_birth_is_not_compared() -> None:
    asked = oracle()
    stranger = (7, 1)
    asked.accounts([account(MB, 0, tgid=7)], 6 * S)
    asked.received(ended(life=stranger))

    assert (compared(asked), asked.compared) == ([], 0)


def test_a_lost_account_silences_who_lived_then_and_nobody_else() -> None:
    asked = oracle()
    asked.accounts([account(MB, 0)], 5 * S)
    asked.overflowed(5 * S + 1)
    asked.received(ended())
    asked.accounts([account(MB, 0)], 6 * S)
    silenced = compared(asked)
    asked.since_ns = 5 * S
    asked.received(ended())
    asked.accounts([account(MB, 0)], 6 * S)

    assert silenced == []
    assert len(compared(asked)) == 1


def test_an_end_without_an_account_is_counted_and_says_nothing() -> None:
    asked = oracle()
    asked.received(ended())

    assert (compared(asked), asked.unaccounted) == ([], 1)


@pytest.mark.parametrize(("read", "rows"), [(1000, 0), (63 << 10, 0), (64 << 10, 1)])
def test_who_moves_little_is_no_row(read: int, rows: int) -> None:
    asked = oracle()
    asked.accounts([account(read, 0)], 6 * S)
    asked.uses(*used(read, 0))
    asked.received(ended())

    assert (len(compared(asked)), asked.compared) == (rows, 1)


def test_accounts_of_strangers_are_forgotten_and_those_of_the_living_are_not() -> None:
    asked = oracle()
    asked.accounts([account(1, 1, tgid=7), account(2, 2)], 5 * S)
    asked.forget(30 * S, [LIFE])

    assert list(asked._sums) == [101]


def message(version: int, kind: int = 4) -> bytes:
    """An exit of task 9 of process 8, as the kernel lays it out."""
    body = bytearray(600)
    struct.pack_into("<HHI", body, 20, 500, kind, 0)
    struct.pack_into("<H", body, 36, version)
    struct.pack_into("<I", body, 36 + 128, 9)
    struct.pack_into("<4Q", body, 36 + 216, 11, 12, 13, 14)
    struct.pack_into("<I", body, 36 + 368, 8)
    return bytes(body)


@pytest.mark.parametrize("version", [12, 14, 16, 17])
def test_a_message_is_read_where_it_lies(version: int) -> None:
    assert account_in(message(version)) == Account(8, 9, 11, 12, 13, 14)


@pytest.mark.parametrize(
    "strange", [message(11), message(15), message(16, kind=5), b"", message(16)[:300]]
)
def test_other_messages_are_none(strange: bytes) -> None:
    assert account_in(strange) is None


def test_accounts_come_through_a_socket_until_it_ends() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    accounts = Accounts(ours)
    theirs.send(message(16))
    found: list[Any] = []
    while not found:
        found = accounts.take()
    theirs.close()
    ours.close()

    assert found == [Account(8, 9, 11, 12, 13, 14)]
    assert accounts.overflows == 0
