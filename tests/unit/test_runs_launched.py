"""Runs by who launched them, how they end, and what is known to be missing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.observed import Observed, terminal, typed

from whence_collector.resolved import CodeRow, LossRow

if TYPE_CHECKING:
    pass


@pytest.fixture
def seen() -> Observed:
    return Observed()


@pytest.mark.parametrize(
    "wrapper",
    [
        ("env", "A=1"),
        ("nice", "-n", "5"),
        ("timeout", "60"),
        ("sudo", "-u", "ada"),
        ("setsid",),
        ("stdbuf", "-oL"),
        ("taskset", "-c", "0"),
        ("xargs", "-n1"),
        ("uv", "run"),
        ("time",),
        ("nohup",),
        ("torchrun", "--nproc-per-node=2"),
    ],
)
def test_wrapped_script_is_one_run_with_steps(seen: Observed, wrapper: tuple[str, ...]) -> None:
    shell = terminal(seen.host)
    outer = typed(seen.host, shell, *wrapper, "sh", "x.sh")
    script = seen.host.spawn(outer, "sh", "x.sh")
    step = seen.host.spawn(script, "python", "a.py")
    seen.deliver()

    assert seen.run(outer) == seen.run(script)
    assert seen.run(step).parent_run_id == seen.run(outer).run_id


def test_wrapper_that_executes_tells_what_it_became(seen: Observed) -> None:
    shell = terminal(seen.host)
    env = typed(seen.host, shell, "nohup", "python", "train.py")
    python = seen.host.again(env, "python", "train.py")
    seen.deliver()

    assert seen.run(env) == seen.run(python)
    assert (seen.run(python).kind, seen.run(python).command) == ("job", "python train.py")


def test_harness_command_that_the_shell_executed(seen: Observed) -> None:
    harness = seen.host.found(None, "node", "agent.js")
    shell = seen.host.spawn(harness, "bash", "-c", "python train.py")
    python = seen.host.again(shell, "python", "train.py")
    seen.host.end(python)
    seen.deliver()

    assert (
        seen.run(python).kind,
        seen.run(python).command,
        seen.run(python).status,
        seen.run(python).argv,
    ) == ("job", "python train.py", "succeeded", ("python", "train.py"))


def test_harness_command_with_two_parts_is_a_script(seen: Observed) -> None:
    harness = seen.host.found(None, "node", "agent.js")
    shell = seen.host.spawn(harness, "bash", "-c", "python a.py && python b.py")
    seen.host.spawn(shell, "python", "a.py")
    seen.host.spawn(shell, "python", "b.py")
    seen.deliver()

    assert {
        ("script", "python a.py && python b.py", None),
        ("step", "python a.py", "python a.py && python b.py"),
        ("step", "python b.py", "python a.py && python b.py"),
        ("job", "node agent.js", None),
    } == seen.tree()


def test_cron_job(seen: Observed) -> None:
    cron = seen.host.found(None, "/usr/sbin/cron", cgroup="/system.slice/cron.service")
    child = seen.host.fork(cron)
    seen.host.spawn(child, "/bin/sh", "-c", "backup.sh")
    seen.deliver()

    assert {("cron", "backup.sh", None)} == seen.tree()


def test_systemd_unit(seen: Observed) -> None:
    init = seen.host.found(None, "/sbin/init", exe="/usr/lib/systemd/systemd", cgroup="/init.scope")
    forked = seen.host.fork(init)
    seen.host.exec(forked, "python", "serve.py", cgroup="/system.slice/serve.service")
    seen.deliver()

    assert {("unit", "python serve.py", None)} == seen.tree()


def test_systemd_unit_by_the_executor(seen: Observed) -> None:
    init = seen.host.found(None, "/sbin/init", exe="/usr/lib/systemd/systemd", cgroup="/init.scope")
    executor = seen.host.spawn(
        init, "/usr/lib/systemd/systemd-executor", cgroup="/system.slice/serve.service"
    )
    unit = seen.host.again(executor, "python", "serve.py")
    seen.deliver()

    assert (seen.run(unit).kind, seen.run(unit).command) == ("unit", "python serve.py")


def test_container(seen: Observed) -> None:
    shim = seen.host.found(None, "containerd-shim-runc-v2", cgroup="/system.slice/docker.service")
    inside = "/system.slice/docker-0123456789abcdef.scope"
    init = seen.host.spawn(shim, "runc", "init", cgroup=inside, mount_namespace=2, pid_namespace=2)
    entry = seen.host.again(init, "python", "train.py", mount_namespace=2, pid_namespace=2)
    child = seen.host.spawn(entry, "git", "status")
    seen.deliver()

    assert (seen.run(entry).kind, seen.run(entry).command) == ("container", "python train.py")
    assert seen.run(entry) == seen.run(child)


def test_change_of_unit_begins_a_run_below_a_program(seen: Observed) -> None:
    program = seen.host.spawn(None, "python", "daemon.py", cgroup="/system.slice/a.service")
    seen.host.spawn(program, "python", "job.py", cgroup="/system.slice/run-u7.service")
    seen.deliver()

    assert ("unit", "python job.py", None) in seen.tree()


def test_driver_gives_steps_to_other_scripts_only(seen: Observed) -> None:
    driver = seen.host.spawn(None, "python", "drive.py")
    seen.host.spawn(driver, "python", "train.py")
    seen.host.spawn(driver, "python", "-m", "pkg.evaluate")
    worker = seen.host.spawn(driver, "python", "-c", "from multiprocessing.spawn import spawn_main")
    compiler = seen.host.spawn(driver, "gcc", "-c", "k.c")
    shell = seen.host.spawn(driver, "sh", "-c", "python plot.py")
    seen.host.again(shell, "python", "plot.py")
    seen.deliver()

    assert {
        ("job", "python drive.py", None),
        ("step", "python train.py", "python drive.py"),
        ("step", "python -m pkg.evaluate", "python drive.py"),
        ("step", "python plot.py", "python drive.py"),
    } == seen.tree()
    assert seen.run(driver) == seen.run(worker) == seen.run(compiler)


def test_daemon_by_double_fork_stays_in_its_run(seen: Observed) -> None:
    shell = terminal(seen.host)
    server = typed(seen.host, shell, "ray", "start")
    middle = seen.host.fork(server)
    daemon = seen.host.fork(middle)
    seen.host.end(middle, server)
    seen.deliver()

    assert seen.run(daemon).status == "running"
    assert seen.run(server) == seen.run(daemon)


def test_orphan_with_unknown_parent_is_a_run(seen: Observed) -> None:
    seen.host.spawn(None, "python", "a.py")
    seen.deliver()

    assert {("job", "python a.py", None)} == seen.tree()


def test_process_from_before_capture_is_marked_and_hosts_new_work(seen: Observed) -> None:
    old = seen.host.found(None, "python", "serve.py")
    worker = seen.host.fork(old)
    seen.host.spawn(old, "python", "job.py")
    seen.deliver()

    assert {("job", "python serve.py", None), ("job", "python job.py", None)} == seen.tree()
    assert (
        seen.run(old).complete,
        seen.run(old).incomplete_reason,
    ) == (False, "it was running before capture began")
    assert seen.run(old) == seen.run(worker)


def test_canary_is_a_run_of_its_own_whatever_it_starts(seen: Observed) -> None:
    daemon = seen.host.found(None, "python", "-m", "whenced")
    canary = seen.host.spawn(daemon, "sh", "-c", "cat x", "whence-canary:abc")
    cat = seen.host.spawn(canary, "cat", "x")
    seen.deliver()

    assert seen.run(canary).kind == "canary"
    assert seen.run(canary) == seen.run(cat)


@pytest.mark.parametrize(
    ("code", "signal", "expected"),
    [(0, 0, ("succeeded", 0)), (3, 0, ("failed", 3)), (0, 9, ("killed", None))],
)
def test_status_is_the_first_process_end(
    seen: Observed, code: int, signal: int, expected: tuple[str, int | None]
) -> None:
    process = seen.host.spawn(None, "python", "a.py")
    seen.host.end(process, code=code, signal=signal)
    seen.deliver()

    assert expected == (seen.run(process).status, seen.run(process).exit_code)


def test_end_that_comes_before_its_process(seen: Observed) -> None:
    process = seen.host.spawn(None, "python", "a.py")
    seen.host.end(process)
    described, seen.host.processes = list(seen.host.processes), []
    seen.deliver()
    seen.host.processes = described
    seen.deliver()

    assert seen.run(process).status == "succeeded"


def test_run_id_is_the_same_each_time() -> None:
    ids = set()
    for _ in range(2):
        seen = Observed()
        process = seen.host.spawn(None, "python", "a.py")
        seen.deliver()
        ids.add(seen.run_of[process.process_id])

    assert len(ids) == 1


def test_loss_marks_only_runs_of_its_time(seen: Observed) -> None:
    early = seen.host.spawn(None, "python", "a.py")
    seen.host.end(early)
    seen.deliver()
    since = seen.host.tick()
    late = seen.host.spawn(None, "python", "b.py")
    seen.host.losses.append(LossRow(1, "touch", 20, 8, 12, "ring full", since, seen.host.tick()))
    seen.deliver()

    assert (seen.run(early).complete, seen.run(early).incomplete_reason) == (True, None)
    assert (
        seen.run(late).complete,
        seen.run(late).incomplete_reason,
    ) == (False, "12 records lost: ring full")


def test_code_state_of_the_first_process_counts(seen: Observed) -> None:
    root = seen.host.spawn(None, "python", "a.py")
    helper = seen.host.spawn(root, "ls")
    for process, commit in ((helper, "b" * 40), (root, "a" * 40)):
        seen.host.code_states.append(
            CodeRow(process.process_id, "/src/x", commit, "main", None, True, ("a.py",), 1)
        )
    seen.deliver()
    run = seen.run(root)

    assert (
        run.git_commit,
        run.git_branch,
        run.git_dirty,
        run.git_modified,
        run.project,
    ) == ("a" * 40, "main", True, ("a.py",), "x")


def test_names_of_steps_stand_when_the_script_has_ended(seen: Observed) -> None:
    script = seen.host.spawn(None, "bash", "x.sh")
    step = seen.host.spawn(script, "python", "a.py")
    seen.host.end(step)
    seen.deliver()
    before = list(seen.closed)
    seen.host.end(script)
    seen.deliver()

    assert before == []
    assert sorted(seen.closed) == ["bash x.sh", "python a.py"]


def test_prompt_commands_are_no_endless_job(seen: Observed) -> None:
    """A command substitution of an interactive shell keeps the shell's own process group."""
    shell = terminal(seen.host)
    first = seen.host.spawn(shell, "git", "branch")
    second = seen.host.spawn(shell, "git", "status")
    seen.deliver()

    assert seen.run_of[first.process_id] != seen.run_of[second.process_id]


def test_process_group_that_is_used_again_is_another_job(seen: Observed) -> None:
    shell = terminal(seen.host)
    first = typed(seen.host, shell, "ls", process_group=77)
    seen.host.end(first)
    seen.deliver()
    second = typed(seen.host, shell, "ls", process_group=77)
    seen.deliver()

    assert seen.run_of[first.process_id] != seen.run_of[second.process_id]


def test_script_with_a_shebang_reads_as_typed(seen: Observed) -> None:
    shell = terminal(seen.host)
    script = typed(
        seen.host, shell, "/bin/bash", "./run.sh", "a b", exe="/usr/bin/bash", script="./run.sh"
    )
    tool = typed(
        seen.host,
        shell,
        "/usr/bin/python3",
        "/usr/local/bin/torchrun",
        "t.py",
        script="/usr/local/bin/torchrun",
    )
    seen.deliver()

    assert (seen.run(script).command, seen.run(tool).command) == ("./run.sh 'a b'", "torchrun t.py")
