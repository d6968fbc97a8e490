"""A daemon that stands still while its rings fill: the run that lost says so, and no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.addresses import free_address
from tests.asking import Whence, settled
from tests.scope import Scope
from tools.instance import DAEMON, Instance, bring_down, bring_up, running

pytestmark = pytest.mark.kernel

# The kernel's least: a ring of 4,096 bytes holds 20 records.
SETTINGS = "event_ring_bytes = 65536\ntext_ring_bytes = 65536\n"
FLOOD = "for i in $(seq 2000); do echo > file$i; done"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Instance, Scope]]:
    """Start an instance whose rings hold little, for a control group of its own."""
    scope = Scope.create(f"whence-losses-{os.getpid()}")
    instance = Instance(tmp_path / "data", free_address())
    instance.data_dir.mkdir()
    settings = instance.data_dir / "whenced.toml"
    settings.write_text(SETTINGS)
    bring_up(instance, ["--cgroup", str(scope.directory), "--config", str(settings)])
    yield instance, scope
    bring_down(instance)
    scope.remove()


def told(whence: Whence, place: Path) -> dict[str, tuple[bool, bool]]:
    """Return (complete, whether the ring is blamed) by the first word of the command."""
    query = "SELECT command, complete, incomplete_reason FROM runs WHERE cwd = "
    rows = whence.sql(f"{query}'{place}' AND command NOT LIKE 'seq%'")
    return {
        row["command"].split()[0]: (
            row["complete"],
            "ring of touches was full" in (row["incomplete_reason"] or ""),
        )
        for row in rows
    }


def test_the_run_that_lost_records_says_so_and_its_neighbour_does_not(
    small: tuple[Instance, Scope], place: Path
) -> None:
    instance, scope = small
    whence = Whence(instance)
    neighbour = scope.start(["sleep", "600"], place)
    expected = {"sleep": (True, False)}
    assert settled(partial(told, whence, place), expected) == expected
    daemon = running(instance, DAEMON)
    assert daemon is not None

    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        flood = scope.start(["bash", "-c", FLOOD], place)
        flood.communicate(timeout=60)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    expected = {"sleep": (True, False), "for": (False, True)}
    assert settled(partial(told, whence, place), expected) == expected
    neighbour.terminate()
    neighbour.communicate(timeout=30)

    assert settled(partial(told, whence, place), expected) == expected
    ((lost,),) = [
        tuple(row.values())
        for row in whence.sql(
            "SELECT lost_records FROM run_proofs JOIN runs USING (run_id) WHERE command LIKE 'for%'"
        )
    ]
    assert lost > 1000
