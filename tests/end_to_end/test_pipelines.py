"""Pipelines that know nothing of whence: what depends on what."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import (
    RAW,
    Rows,
    below,
    dependencies,
    made_from,
    rows,
    runs_writing,
    write_job,
)
from tests.scope import Scope

pytestmark = pytest.mark.kernel

THREE_STAGES = {
    ("model.bin", "prepared.txt"),
    ("metrics.txt", "prepared.txt"),
    ("metrics.txt", "model.bin"),
}


def test_script_of_three_stages_gives_three_steps_and_no_cycle(
    scope: Scope, whence: Whence, place: Path
) -> None:
    script = (
        "python3 stage.py prepared.txt raw.csv\n"
        "python3 stage.py model.bin prepared.txt\n"
        "python3 stage.py metrics.txt model.bin prepared.txt\n"
    )
    write_job(place, raw_csv=RAW, train_sh=script)

    scope.run(["sh", "train.sh"], place)

    steps = {(line, "step", "succeeded") for line in script.splitlines()}
    assert settled(partial(runs_writing, whence, place, "command, kind, status"), steps) == steps
    assert settled(partial(dependencies, whence, place), THREE_STAGES) == THREE_STAGES


def test_make_pipeline_depends_as_its_rules_say(scope: Scope, whence: Whence, place: Path) -> None:
    rules = (
        "metrics.txt: model.bin prepared.txt\n\tpython3 stage.py $@ $^\n"
        "model.bin: prepared.txt\n\tpython3 stage.py $@ $^\n"
        "prepared.txt: raw.csv\n\tpython3 stage.py $@ $^\n"
    )
    write_job(place, raw_csv=RAW, _Makefile=rules)

    scope.run(["make", "--silent"], place)

    assert settled(partial(dependencies, whence, place), THREE_STAGES) == THREE_STAGES


def test_recipe_through_a_shell_is_one_step(scope: Scope, whence: Whence, place: Path) -> None:
    rules = "out.txt: raw.csv\n\tsort $< > tmp.txt && python3 stage.py $@ tmp.txt; rm tmp.txt\n"
    write_job(place, raw_csv=RAW, _Makefile=rules)
    expected = {("out.txt", "raw.csv")}

    scope.run(["make", "--silent"], place)

    def from_raw() -> Rows:
        return {edge for edge in made_from(whence, place) if edge[0] == "out.txt"} & expected

    assert settled(from_raw, expected) == expected


def test_pipe_carries_lineage(scope: Scope, whence: Whence, place: Path) -> None:
    script = "cat raw.csv | sort -r | python3 upper.py > out.txt\n"
    upper = "import sys\nsys.stdout.write(sys.stdin.read().upper())\n"
    write_job(place, raw_csv=RAW, upper_py=upper, job_sh=script)
    expected = {("out.txt", "raw.csv")}

    scope.run(["sh", "job.sh"], place)

    assert settled(partial(made_from, whence, place), expected) == expected


def test_pipeline_of_separate_scripts_is_followed_by_content(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """Nothing but the file connects jobs that were started one by one."""
    write_job(place, raw_csv=RAW)
    expected = {("model.bin", "prepared.txt")}

    scope.run(["python3", "stage.py", "prepared.txt", "raw.csv"], place)
    scope.run(["python3", "stage.py", "model.bin", "prepared.txt"], place)

    assert settled(partial(dependencies, whence, place), expected) == expected


def test_failed_and_killed_runs_say_so(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, fail_py="open('a.txt', 'w').write('x')\nraise SystemExit(3)\n")
    write_job(place, die_py="import os\nopen('b.txt', 'w').write('x')\nos.kill(os.getpid(), 9)\n")
    expected = {("python3 fail.py", "failed", 3), ("python3 die.py", "killed", None)}

    for program in ("fail.py", "die.py"):
        with scope.start(["python3", program], place) as process:
            process.communicate()

    assert (
        settled(partial(runs_writing, whence, place, "command, status, exit_code"), expected)
        == expected
    )


def test_several_users_at_once_are_told_apart(scope: Scope, whence: Whence, place: Path) -> None:
    users = (1234, 65534)
    write_job(place, raw_csv=RAW)
    expected = {(f"out{user}.txt", user) for user in users}

    started = [
        scope.start(["python3", "stage.py", f"out{user}.txt", "raw.csv"], place, user=user)
        for user in users
    ]
    for process in started:
        with process:
            process.communicate()

    views = "run_outputs JOIN runs USING (run_id)"
    writers = partial(rows, whence, "path, uid", views, below(place))
    assert settled(writers, expected) == expected
