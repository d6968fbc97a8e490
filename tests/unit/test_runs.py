"""Jobs, scripts, pipelines and recipes as they really are, and the runs they must become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.observed import Observed, terminal, typed

from whence_collector.resolved import BlindRow

if TYPE_CHECKING:
    pass


@pytest.fixture
def seen() -> Observed:
    return Observed()


def test_typed_command_is_a_job_with_its_helpers(seen: Observed) -> None:
    shell = terminal(seen.host)
    train = typed(seen.host, shell, "python", "train.py", "--epochs", "3")
    worker = seen.host.fork(train)
    git = seen.host.spawn(train, "git", "rev-parse", "HEAD")
    seen.host.end(git, worker, train)
    seen.deliver()
    run = seen.run(train)

    assert (
        run.kind,
        run.command,
        run.status,
        run.exit_code,
    ) == ("job", "python train.py --epochs 3", "succeeded", 0)
    assert {run.run_id} == {seen.run_of[each.process_id] for each in (train, worker, git)}


def test_two_typed_commands_are_two_runs(seen: Observed) -> None:
    shell = terminal(seen.host)
    for name in ("a.py", "b.py"):
        seen.host.end(typed(seen.host, shell, "python", name))
    seen.deliver()

    assert {("job", "python a.py", None), ("job", "python b.py", None)} == seen.tree()


def test_typed_pipeline_is_one_job(seen: Observed) -> None:
    shell = terminal(seen.host)
    cat = typed(seen.host, shell, "cat", "raw.csv")
    sort = typed(seen.host, shell, "sort", process_group=cat.tgid)
    python = typed(seen.host, shell, "python", "x.py", process_group=cat.tgid)
    seen.host.end(cat, sort, python)
    seen.deliver()

    assert {("job", "cat raw.csv | sort | python x.py", None)} == seen.tree()


def test_typed_subshell_loop_feeding_a_pipe_is_one_job(seen: Observed) -> None:
    shell = terminal(seen.host)
    loop = seen.host.fork(shell)
    cat = seen.host.spawn(loop, "cat", "a.csv", process_group=loop.tgid)
    sort = typed(seen.host, shell, "sort", process_group=loop.tgid)
    seen.host.pipe(cat, sort)
    seen.deliver()

    assert seen.run(cat) == seen.run(sort) == seen.run(loop)
    assert seen.run(sort).kind == "job"


def test_script_gives_one_step_for_each_command(seen: Observed) -> None:
    shell = terminal(seen.host)
    script = typed(seen.host, shell, "sh", "train.sh", exe="/usr/bin/dash")
    for name in ("prepare.py", "train.py", "evaluate.py"):
        seen.host.end(seen.host.spawn(script, "python", name))
    seen.host.end(script)
    seen.deliver()

    assert {
        ("script", "sh train.sh", None),
        ("step", "python prepare.py", "sh train.sh"),
        ("step", "python train.py", "sh train.sh"),
        ("step", "python evaluate.py", "sh train.sh"),
    } == seen.tree()


def test_steps_are_the_same_whether_rows_come_at_once_or_one_by_one(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    seen.deliver()
    forked = seen.host.fork(script)
    seen.deliver()
    early = seen.run_of[forked.process_id]
    step = seen.host.exec(forked, "python", "a.py")
    seen.deliver()

    assert early == seen.run_of[script.process_id]
    assert ("step", "python a.py", "bash x.sh") in seen.tree()
    assert seen.run(step).parent_run_id == early


def test_rows_of_a_batch_may_come_child_first(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    seen.host.spawn(script, "python", "a.py")
    seen.host.processes.reverse()
    seen.deliver()

    assert {("script", "bash x.sh", None), ("step", "python a.py", "bash x.sh")} == seen.tree()


def test_pipeline_in_a_script_is_one_step(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    cat, sort = seen.host.spawn(script, "cat", "raw"), seen.host.spawn(script, "sort")
    python = seen.host.spawn(script, "python", "x.py")
    seen.host.pipe(cat, sort, 1)
    seen.host.pipe(sort, python, 2)
    seen.deliver()

    assert {
        ("script", "bash x.sh", None),
        ("step", "cat raw | sort | python x.py", "bash x.sh"),
    } == seen.tree()


def test_pipe_that_shows_late_joins_runs_that_were_stored(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    cat, sort = seen.host.spawn(script, "cat", "raw"), seen.host.spawn(script, "sort")
    seen.deliver()
    before = seen.run_of[sort.process_id]
    seen.host.pipe(cat, sort)
    changes = seen.deliver()

    assert ((before, seen.run_of[cat.process_id]),) == changes.dropped
    assert seen.run(cat) == seen.run(sort)


def test_steps_that_share_only_their_output_pipe_stay_apart(seen: Observed) -> None:
    """A harness reads the standard output of a whole script through one pipe."""
    script = seen.host.spawn(None, "bash", "x.sh")
    first, second = seen.host.spawn(script, "python", "a"), seen.host.spawn(script, "python", "b")
    reader = seen.host.spawn(None, "logger")
    seen.host.pipe(first, reader)
    seen.host.pipe(second, reader)
    seen.deliver()

    assert seen.run_of[first.process_id] != seen.run_of[second.process_id]
    assert {
        (seen.run(reader).run_id, seen.run(first).run_id),
        (seen.run(reader).run_id, seen.run(second).run_id),
    } == seen.streams


def test_loop_that_reads_a_pipe_is_part_of_the_pipeline(seen: Observed) -> None:
    """Sort data | while read x; do echo $x >> out; python p.py $x; done."""
    script = seen.host.spawn(None, "bash", "x.sh")
    sort, loop = seen.host.spawn(script, "sort", "data"), seen.host.fork(script)
    seen.host.pipe(sort, loop)
    seen.deliver()
    inner = seen.host.spawn(loop, "python", "p.py")
    seen.deliver()

    assert seen.run(sort) == seen.run(loop)
    assert seen.run(script).run_id == seen.run(inner).parent_run_id


def test_jobserver_pipe_joins_nothing(seen: Observed) -> None:
    make = seen.host.spawn(None, "make", "-j4")
    subs = [seen.host.spawn(make, "make", "-C", name) for name in "ab"]
    for process in (make, *subs):
        seen.host.pipe(process, process)
    seen.deliver()

    assert len({seen.run_of[each.process_id] for each in (make, *subs)}) == 3


def test_command_substitution_feeds_the_script(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    date = seen.host.spawn(script, "date")
    seen.host.pipe(date, script)
    seen.deliver()

    assert {(seen.run(script).run_id, seen.run(date).run_id)} == seen.streams


def test_script_that_feeds_its_own_step_is_no_parent(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    python = seen.host.spawn(script, "python", "-")
    seen.host.pipe(script, python)
    seen.deliver()

    assert set() == seen.streams


def test_make_recipes_are_steps_named_by_the_recipe(seen: Observed) -> None:
    shell = terminal(seen.host)
    make = typed(seen.host, shell, "make", "-j2", "all")
    recipe = seen.host.spawn(make, "/bin/sh", "-c", "python a.py > out", exe="/usr/bin/dash")
    python = seen.host.again(recipe, "python", "a.py")
    both = seen.host.spawn(make, "/bin/sh", "-c", "mkdir -p d && cp a d/", exe="/usr/bin/dash")
    inner = [seen.host.spawn(both, "mkdir", "-p", "d"), seen.host.spawn(both, "cp", "a", "d/")]
    direct = seen.host.spawn(make, "python", "b.py")
    seen.host.end(python, *inner, both, direct, make)
    seen.deliver()

    assert {
        ("make", "make -j2 all", None),
        ("step", "python a.py > out", "make -j2 all"),
        ("step", "mkdir -p d && cp a d/", "make -j2 all"),
        ("step", "python b.py", "make -j2 all"),
    } == seen.tree()
    assert seen.run(inner[0]) == seen.run(inner[1])


def test_nested_make_hangs_its_steps_below_the_recipe(seen: Observed) -> None:
    make = seen.host.spawn(None, "make")
    recipe = seen.host.spawn(make, "sh", "-c", "make -C sub")
    nested = seen.host.again(recipe, "make", "-C", "sub")
    seen.host.spawn(nested, "python", "a.py")
    seen.deliver()

    assert {
        ("make", "make", None),
        ("step", "make -C sub", "make"),
        ("step", "python a.py", "make -C sub"),
    } == seen.tree()


def test_a_way_that_capture_could_not_follow_marks_the_run_that_took_it(seen: Observed) -> None:
    shell = terminal(seen.host)
    python, other = typed(seen.host, shell, "python3", "a.py"), typed(seen.host, shell, "ls")
    seen.deliver()
    seen.book.blind_spots.add([BlindRow(python.process_id, "a device was used", 5)])
    seen.deliver()

    assert (seen.run(python).complete, seen.run(python).incomplete_reason) == (
        (False, "a device was used")
    )
    assert seen.run(other).complete
