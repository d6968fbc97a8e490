"""The kernel's own accounts against what the programs saw: equal but for what an exec reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.witness import Witness, watching
from tests.kernel.workload import Workloads
from tests.scope import Scope

from whenced.oracle import Oracle
from whenced.rows import AccountRow, ProcessKey
from whenced.taskstats import Accounts, open_accounts

pytestmark = pytest.mark.kernel
_LATER_NS = 1 << 62
# Of a task's account, downwards (kernel/tsacct.c xacct_add_tsk()); dd and its like have one.
ROUNDED = 1024


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """The socket, asked for by pyroute2 in a process of its own."""
    found = open_accounts()

    assert isinstance(found, Accounts), found
    yield found
    found.close()


class Everybody:
    """Takes every process for one that was seen from birth."""

    def born(self, tgid: int, start_ns: int) -> ProcessKey | None:
        """Give a process."""
        return ProcessKey(tgid, start_ns, 1)


def compared(
    witness: Witness, accounts: Accounts, command: list[str], place: Path
) -> list[AccountRow]:
    """Run a command in the scope and compare both sides for each of its processes."""
    oracle = Oracle(Everybody(), 0)
    witness.forget()
    accounts.take()
    witness.follow(witness.scope.start(command, place), place)
    time.sleep(0.05)  # an account is sent before its record, and read by a thread
    oracle.accounts(accounts.take(), 0)
    for keys, uses in witness.uses:
        oracle.uses(keys, uses)
    for rows in witness.records:
        oracle.received(rows)
    return oracle.rows(_LATER_NS, _LATER_NS)


SHELL = """
head -c 1000000 /dev/zero > zeros
cat zeros zeros > twice
head -c 300000 zeros | cat > piped
dd if=zeros of=copy bs=7001 2>/dev/null
cat /proc/self/maps /proc/meminfo > kernel
cp zeros again
"""


def test_both_sides_agree_on_files_pipes_devices_and_kernel_files(
    accounts: Accounts, group: Scope, place: Path
) -> None:
    with watching(group) as witness:
        rows = compared(witness, accounts, ["sh", "-c", SHELL], place)

    moved = sum(row.read_bytes + row.written_bytes for row in rows)
    assert len(rows) >= 6
    assert moved > 10_000_000
    for row in rows:
        lacking = row.read_bytes - row.read_seen_bytes
        assert -ROUNDED < lacking <= row.allowed_bytes, row
        assert -ROUNDED < row.written_bytes - row.written_seen_bytes <= 0, row


def test_a_loss_in_the_table_of_uses_is_found(
    accounts: Accounts, group: Scope, place: Path
) -> None:
    """What the counts lack is what the oracle says is lacking."""
    with watching(group) as witness:
        oracle = Oracle(Everybody(), 0)
        witness.forget()
        accounts.take()
        witness.follow(
            group.start(["dd", "if=/dev/zero", "of=f", "bs=1M", "count=4"], place), place
        )
        time.sleep(0.05)
        oracle.accounts(accounts.take(), 0)
        for rows in witness.records:
            oracle.received(rows)
        (row,) = oracle.rows(_LATER_NS, _LATER_NS)

    lacking = row.written_bytes - row.written_seen_bytes
    assert -ROUNDED < lacking - (4 << 20) <= 0
    assert -ROUNDED < row.read_bytes - row.read_seen_bytes < row.allowed_bytes


def test_io_uring_is_no_surplus(
    accounts: Accounts, witness: Witness, workloads: Workloads, place: Path
) -> None:
    """Captured and not accounted: it must not hide what is lacking."""
    for name in ("data", "out"):
        (place / name).write_bytes(bytes(4096))
    rows = compared(witness, accounts, workloads.command("uring", "plain"), place)

    for row in rows:
        assert -ROUNDED < row.read_bytes - row.read_seen_bytes <= row.allowed_bytes
        assert -ROUNDED < row.written_bytes - row.written_seen_bytes <= 0
