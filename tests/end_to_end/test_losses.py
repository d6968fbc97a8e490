"""A daemon that stands still while the kernel side runs out of room: who lost says so, no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.apart import apart
from tests.asking import Whence, settled
from tests.scope import Scope
from tools.instance import DAEMON, Instance, running

pytestmark = pytest.mark.kernel

FILES = "for i in $(seq 2000); do echo > file$i; done"
LONG_NAMES = f"for i in $(seq 2000); do echo > {'n' * 60}$i; done"
PROGRAMS = "for i in $(seq 200); do /bin/true; done"
RENAMES = """\
import os
open('one', 'w').write('x')
for _ in range(1000):
    os.rename('one', 'two')
    os.rename('two', 'one')
"""
MANY_FILES = """\
import os
for number in range(6000):
    os.close(os.open(f'file{number}', os.O_CREAT | os.O_WRONLY))
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """Who uses something up, how the loss is told, and how many records it takes at least."""

    flood: Sequence[str]
    reason: str
    least: int


# A ring of 65,536 bytes holds 240 records; the tables of counts have a row for each pair.
SETTINGS = """\
life_ring_bytes = 65536
event_ring_bytes = 65536
text_ring_bytes = 65536
count_table_rows = 4096
"""
LOSSES = {
    "touches": Loss(("bash", "-c", FILES), "ring of touches was full", 1000),
    "texts": Loss(("bash", "-c", LONG_NAMES), "ring of texts was full", 500),
    "processes": Loss(("bash", "-c", PROGRAMS), "ring of processes was full", 100),
    "names": Loss(("python3", "-c", RENAMES), "ring of names was full", 500),
    "counts": Loss(("python3", "-c", MANY_FILES), "table of counts was full", 1000),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Scope]]:
    """Start an instance that has little room, for a control group of its own."""
    with apart("losses", tmp_path_factory.mktemp("losses"), SETTINGS) as started:
        yield started


def told(whence: Whence, place: Path, reason: str) -> dict[str, tuple[bool, bool]]:
    """Return (complete, whether the reason is the one) of the neighbour and of who flooded."""
    found = {}
    for row in whence.sql(
        f"SELECT command, complete, incomplete_reason FROM runs WHERE cwd = '{place}'"  # noqa: S608 - ours
    ):
        if not row["command"].startswith("seq"):
            who = "neighbour" if row["command"].startswith("sleep") else "flood"
            found[who] = row["complete"], reason in (row["incomplete_reason"] or "")
    return found


@pytest.mark.parametrize("what", LOSSES)
def test_the_run_that_lost_says_so_and_its_neighbour_does_not(
    what: str, small: tuple[Instance, Scope], place: Path
) -> None:
    loss, (instance, scope) = LOSSES[what], small
    whence = Whence(instance)
    neighbour = scope.start(["sleep", "600"], place)
    ask = partial(told, whence, place, loss.reason)
    expected = {"neighbour": (True, False)}
    assert settled(ask, expected) == expected
    daemon = running(instance, DAEMON)
    assert daemon is not None

    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        flood = scope.start(loss.flood, place)
        flood.communicate(timeout=60)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    expected = {"neighbour": (True, False), "flood": (False, True)}
    assert settled(ask, expected) == expected
    neighbour.terminate()
    neighbour.communicate(timeout=30)

    assert settled(ask, expected) == expected
    (run,) = whence.sql(
        "SELECT run_id, lost_records FROM run_proofs JOIN runs USING (run_id)"  # noqa: S608 - ours
        f" WHERE cwd = '{place}' ORDER BY lost_records DESC LIMIT 1"
    )
    assert run["lost_records"] > loss.least
    assert loss.reason in whence.run("show", run["run_id"]).stdout
