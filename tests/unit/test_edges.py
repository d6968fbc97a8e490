"""Which run depends on which: rows through a Deriver into a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.traced import Machine

from whence_collector.derive import Deriver
from whence_collector.resolved import LossRow
from whence_collector.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAIN, EVALUATE = "python train.py", "python evaluate.py"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    store = Store(tmp_path / "whence.duckdb")
    try:
        yield Machine(store, Deriver)
    finally:
        store.close()


def test_reader_of_a_version_depends_on_its_writer(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.write(train, 1, "/m.pt")
    host.read(evaluate, 1, "/m.pt")
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-version")} == machine.edges()


def test_reading_what_one_wrote_is_no_dependency(machine: Machine) -> None:
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    worker = host.fork(train)
    host.write(worker, 1, "/m.pt")
    host.read(train, 1, "/m.pt")
    machine.deliver()

    assert set() == machine.edges()


def test_another_version_of_the_path_is_no_dependency(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.read(evaluate, 1, "/m.pt")
    host.write(train, 2, "/m.pt")
    machine.deliver()

    assert set() == machine.edges()


def test_writer_row_that_comes_in_a_later_batch_counts(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.read(evaluate, 1, "/m.pt")
    machine.deliver()
    host.write(train, 1, "/m.pt")
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-version")} == machine.edges()


@pytest.mark.parametrize("digests", ["before the read", "after the read", "origin last"])
def test_same_content_counts_whenever_the_digests_come(machine: Machine, digests: str) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.write(train, 1, "/a/m.pt")
    machine.deliver()
    if digests == "before the read":
        host.digest(1, "weights")
        host.digest(2, "weights")
    machine.deliver()
    host.read(evaluate, 2, "/b/m.pt")
    machine.deliver()
    if digests == "after the read":
        host.digest(1, "weights")
        machine.deliver()
        host.digest(2, "weights")
    if digests == "origin last":
        host.digest(2, "weights")
        machine.deliver()
        host.digest(1, "weights")
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-content")} == machine.edges()


def test_small_content_tells_no_origin(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.write(train, 1, "/a/empty")
    host.read(evaluate, 2, "/b/empty")
    host.digest(1, "0", 64)
    host.digest(2, "0", 64)
    machine.deliver()

    assert set() == machine.edges()


def test_content_written_after_the_read_is_no_origin(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.read(evaluate, 2, "/b")
    host.write(train, 1, "/a")
    host.digest(1, "weights")
    host.digest(2, "weights")
    machine.deliver()

    assert set() == machine.edges()


def test_observed_copy_is_the_origin_and_leads_on(machine: Machine) -> None:
    host = machine.host
    train, copy = host.spawn(None, *TRAIN.split()), host.spawn(None, "cp", "a", "b")
    evaluate = host.spawn(None, *EVALUATE.split())
    host.write(train, 1, "/a")
    host.read(copy, 1, "/a")
    host.write(copy, 2, "/b")
    host.read(evaluate, 2, "/b")
    host.digest(1, "weights")
    host.digest(2, "weights")
    machine.deliver()

    assert {
        ("cp a b", TRAIN, "same-version"),
        (EVALUATE, "cp a b", "same-version"),
    } == machine.edges()


def test_what_came_over_a_network_is_of_who_made_it(machine: Machine) -> None:
    """Sshd wrote the copy and read none of it: only the content tells."""
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    host.write(train, 1, "/m.pt")
    host.digest(1, "weights")
    receiver = host.spawn(None, "/usr/sbin/sshd", "-D")
    host.write(receiver, 2, "/copy.pt")
    evaluate = host.spawn(None, *EVALUATE.split())
    host.read(evaluate, 2, "/copy.pt")
    machine.deliver()
    host.digest(2, "weights")
    machine.deliver()

    assert (EVALUATE, TRAIN, "same-content") in machine.edges()


def test_a_program_that_made_the_same_again_is_no_copy(machine: Machine) -> None:
    host = machine.host
    for number in (1, 2):
        host.write(host.spawn(None, *TRAIN.split()), number, f"/m{number}.pt")
        host.digest(number, "weights")
    host.read(host.spawn(None, *EVALUATE.split()), 2, "/m2.pt")
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-version")} == machine.edges()


def test_pipe_between_runs_is_a_dependency(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.pipe(train, evaluate)
    machine.deliver()

    assert {(EVALUATE, TRAIN, "stream")} == machine.edges()


def test_executing_what_a_run_built_is_a_dependency(machine: Machine) -> None:
    host = machine.host
    build, run = host.spawn(None, "cc", "-o", "prog"), host.spawn(None, "./prog")
    host.write(build, 1, "/prog")
    host.touch(run, 3, 1, "/prog")
    machine.deliver()

    assert {("./prog", "cc -o prog", "same-version")} == machine.edges()


def test_later_writes_move_the_bound_of_an_edge(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    host.write(train, 1, "/m.pt")
    host.read(evaluate, 1, "/m.pt")
    machine.deliver()
    last = host.write(train, 1, "/m.pt")
    machine.deliver()

    assert [(last,)] == machine.rows("SELECT max(written_ns) FROM run_dependency")


def test_edges_survive_a_restart(machine: Machine) -> None:
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    host.write(train, 1, "/m.pt")
    host.digest(1, "weights")
    machine.deliver()
    machine.restart()
    evaluate = host.spawn(None, *EVALUATE.split())
    host.read(evaluate, 1, "/m.pt")
    machine.deliver()
    machine.restart()
    copy = host.spawn(None, "cat", "/n.pt")
    host.digest(2, "weights")
    host.read(copy, 2, "/n.pt")
    machine.deliver()

    assert {
        (EVALUATE, TRAIN, "same-version"),
        ("cat /n.pt", TRAIN, "same-content"),
    } == machine.edges()


def test_run_goes_on_after_a_restart_as_if_nothing_had_been(machine: Machine) -> None:
    host = machine.host
    script = host.spawn(None, "bash", "x.sh")
    train = host.spawn(script, *TRAIN.split())
    machine.deliver()
    machine.restart()
    evaluate = host.spawn(script, *EVALUATE.split())
    host.end(train, evaluate)
    host.end(script, code=3)
    machine.deliver()

    assert machine.rows(
        "SELECT r.kind, r.command, p.command, r.status, r.complete FROM run r "
        "LEFT JOIN run p ON p.run_id = r.parent_run_id ORDER BY r.kind, r.command"
    ) == [
        ("script", "bash x.sh", None, "failed", True),
        ("step", EVALUATE, "bash x.sh", "succeeded", True),
        ("step", TRAIN, "bash x.sh", "succeeded", True),
    ]


def test_pipeline_that_shows_late_takes_its_edges_along(machine: Machine) -> None:
    host = machine.host
    other = host.spawn(None, *TRAIN.split())
    host.write(other, 1, "/raw")
    script = host.spawn(None, "bash", "x.sh")
    cat, sort = host.spawn(script, "cat", "/raw"), host.spawn(script, "sort")
    host.read(sort, 1, "/raw")
    machine.deliver()
    host.pipe(cat, sort)
    machine.deliver()

    assert {("cat /raw | sort", TRAIN, "same-version")} == machine.edges()
    assert machine.rows("SELECT count(*), count(DISTINCT run_id) FROM process_run") == [(4, 3)]


def test_touch_before_the_exec_follows_the_process_into_its_run(machine: Machine) -> None:
    """A shell opens the redirection's file in the child before it executes the program."""
    host = machine.host
    script = host.spawn(None, "bash", "x.sh")
    forked = host.fork(script)
    host.write(forked, 1, "/out")
    machine.deliver()
    host.exec(forked, *TRAIN.split())
    reader = host.spawn(None, *EVALUATE.split())
    host.read(reader, 1, "/out")
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-version")} == machine.edges()


def test_process_described_after_its_touches(machine: Machine) -> None:
    host = machine.host
    train, evaluate = host.spawn(None, *TRAIN.split()), host.spawn(None, *EVALUATE.split())
    described, host.processes = list(host.processes), []
    host.write(train, 1, "/m.pt")
    host.read(evaluate, 1, "/m.pt")
    machine.deliver()
    host.processes = described
    machine.deliver()

    assert {(EVALUATE, TRAIN, "same-version")} == machine.edges()


def test_runs_that_ended_before_a_loss_was_told_are_marked(machine: Machine) -> None:
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    since = host.tick()
    host.end(train)
    machine.deliver()
    machine.restart()
    host.losses.append(LossRow(1, "touch", 9, 4, 5, None, since, since + 1))
    machine.deliver()

    assert machine.rows("SELECT complete, incomplete_reason FROM runs") == [
        (False, "5 records lost: records of class touch")
    ]


def test_output_names_follow_renames_until_the_run_ends(machine: Machine) -> None:
    host = machine.host
    script = host.spawn(None, "bash", "x.sh")
    train = host.spawn(script, *TRAIN.split())
    host.write(train, 1, "/w/out.tmp/m.pt")
    host.write(train, 2, "/w/scratch")
    host.write(train, 3, "/w/log")
    host.end(train)
    machine.deliver()
    move = host.spawn(script, "mv", "/w/out.tmp", "/w/out")
    host.rename(move, "/w/out.tmp", "/w/out")
    host.delete(move, "/w/scratch", 2)
    host.end(move, script)
    machine.deliver()

    assert machine.rows("SELECT path, deleted FROM run_outputs ORDER BY path") == [
        ("/w/log", False),
        ("/w/out/m.pt", False),
        ("/w/scratch", True),
    ]


def test_output_of_a_running_run_shows_its_new_name(machine: Machine) -> None:
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    host.write(train, 1, "/w/m.tmp")
    machine.deliver()
    host.rename(train, "/w/m.tmp", "/w/m.pt", 1)
    machine.deliver()

    assert machine.rows("SELECT path, deleted FROM run_outputs") == [("/w/m.pt", False)]


def test_views_show_inputs_at_first_read_and_outputs(machine: Machine) -> None:
    host = machine.host
    train = host.spawn(None, *TRAIN.split())
    host.read(train, 1, "/d/in.csv")
    host.write(train, 2, "/d/in.csv")
    host.read(train, 2, "/d/in.csv")
    host.touch(train, 3, 3, "/usr/bin/python3")
    host.read(train, 4, "/proc/cpuinfo")
    host.digest(1, "old")
    host.digest(2, "new")
    machine.deliver()

    assert machine.rows(
        "SELECT path, class, artifact_state, size FROM run_inputs ORDER BY path"
    ) == [
        ("/d/in.csv", "data", "verified", 1000),
        ("/usr/bin/python3", "library", None, None),
    ]
    assert machine.rows("SELECT path, artifact[:13] FROM run_outputs") == [
        ("/d/in.csv", "blake3:6e6577")
    ]
