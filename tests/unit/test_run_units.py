"""What a notebook's kernel did comes in units that quiet parts; hosts of a run are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.traced import Machine

from whence_collector.derive import Deriver
from whence_collector.store import Store

MINUTE_NS = 60_000_000_000


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    store = Store(tmp_path / "whence.duckdb")
    yield Machine(store, Deriver)
    store.close()


def test_a_quiet_minute_ends_a_unit(machine: Machine) -> None:
    host = machine.host
    server = host.spawn(None, "python", "/usr/bin/jupyter-lab")
    kernel = host.spawn(server, "python", "-m", "ipykernel_launcher", "-f", "k.json")
    host.read(kernel, 1, "/work/a.csv")
    host.write(kernel, 2, "/work/b.csv")
    host.now_ns += 2 * MINUTE_NS
    host.read(kernel, 3, "/work/c.csv")
    machine.deliver()

    assert machine.rows("SELECT unit, files_read, files_written FROM run_units ORDER BY 1") == [
        (1, 1, 1),
        (2, 1, 0),
    ]


def test_other_runs_have_no_units(machine: Machine) -> None:
    job = machine.host.spawn(None, "python", "train.py")
    machine.host.read(job, 1, "/work/a.csv")
    machine.deliver()

    assert machine.rows("SELECT * FROM run_units") == []


def test_what_a_shell_itself_wrote_is_reached_by_lineage(machine: Machine) -> None:
    """A process that nobody thought interesting is a run as soon as something came from it."""
    host = machine.host
    shell = host.found(None, "bash", terminal=34816)
    host.write(shell, 1, "/work/typed.txt")
    job = host.spawn(shell, "python", "x.py", process_group=77)
    host.read(job, 1, "/work/typed.txt")
    machine.deliver()

    assert machine.edges() == {("python x.py", "bash", "same-version")}
