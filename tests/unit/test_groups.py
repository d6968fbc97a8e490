"""Ranks, hosts, steps and restarts that are one run, and who launched it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.observed import Observed, terminal, typed

from whence_collector.config import parse
from whence_collector.errors import InvalidSetting
from whence_collector.launcher_table import extended
from whence_collector.launchers import Role, role_of
from whence_collector.resolved import ProcessRow
from whence_collector.runs import RunBook

RANK = {"WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
STEP = "/system.slice/slurmstepd.scope/job_7/step_{}/user/task_{}"


@pytest.fixture
def seen() -> Observed:
    return Observed()


def ranks(seen: Observed, launcher: ProcessRow, first: int, **more: str) -> list[ProcessRow]:
    """Two ranks of a job of four, as torchrun starts them."""
    found = []
    for rank in (first, first + 1):
        process = seen.host.spawn(launcher, "python", "-u", "train.py", boot_id=launcher.boot_id)
        found.append(seen.host.with_environment(process, RANK=str(rank), **{**RANK, **more}))
    return found


def node(seen: Observed, boot_id: int, *argv: str, **changes: Any) -> ProcessRow:
    """A command that was typed on one of several hosts."""
    sshd = seen.host.found(None, "sshd", exe="/usr/sbin/sshd", boot_id=boot_id)
    return seen.host.spawn(sshd, *argv, **changes)


def torchrun(seen: Observed, boot_id: int) -> ProcessRow:
    return node(seen, boot_id, "torchrun", "--nnodes=2", "train.py", exe="/usr/bin/torchrun")


def test_ranks_of_two_hosts_are_one_run(seen: Observed) -> None:
    one, two = torchrun(seen, 1), torchrun(seen, 2)
    workers = ranks(seen, one, 0) + ranks(seen, two, 2)
    seen.deliver()
    run = seen.run(one)

    assert {seen.run(each).run_id for each in (one, two, *workers)} == {run.run_id}
    assert (run.world_size, run.attempts, run.command) == (4, 1, "torchrun --nnodes=2 train.py")


def test_a_failure_on_the_second_host_fails_the_run(seen: Observed) -> None:
    one, two = torchrun(seen, 1), torchrun(seen, 2)
    workers = ranks(seen, one, 0) + ranks(seen, two, 2)
    seen.deliver()
    seen.host.end(*workers, one)
    seen.host.end(two, code=1)
    seen.deliver()

    assert (seen.run(one).status, seen.run(one).exit_code) == ("failed", 1)


def test_the_same_port_on_two_hosts_of_their_own_joins_nothing(seen: Observed) -> None:
    """Everybody's default is localhost:29500."""
    one, two = torchrun(seen, 1), torchrun(seen, 2)
    ranks(seen, one, 0, MASTER_ADDR="127.0.0.1")
    ranks(seen, two, 0, MASTER_ADDR="127.0.0.1")
    seen.deliver()

    assert seen.run(one) != seen.run(two)


def test_the_same_port_an_hour_later_is_another_run(seen: Observed) -> None:
    one = torchrun(seen, 1)
    seen.host.end(*ranks(seen, one, 0), one)
    seen.deliver()
    seen.host.now_ns += 3_600_000_000_000
    two = torchrun(seen, 1)
    ranks(seen, two, 0)
    seen.deliver()

    assert seen.run(one) != seen.run(two)


def test_a_run_id_of_torchrun_joins_whatever_the_address(seen: Observed) -> None:
    one, two = torchrun(seen, 1), torchrun(seen, 2)
    ranks(seen, one, 0, TORCHELASTIC_RUN_ID="j7", MASTER_ADDR="127.0.0.1")
    ranks(seen, two, 2, TORCHELASTIC_RUN_ID="j7", MASTER_ADDR="10.0.0.2")
    seen.deliver()

    assert seen.run(one) == seen.run(two)


def test_restarted_ranks_are_attempts_of_one_run(seen: Observed) -> None:
    one = torchrun(seen, 1)
    seen.host.end(*ranks(seen, one, 0, TORCHELASTIC_RESTART_COUNT="0"), code=1)
    again = ranks(seen, one, 0, TORCHELASTIC_RESTART_COUNT="2")
    seen.deliver()

    assert seen.run(again[0]) == seen.run(one)
    assert seen.run(one).attempts == 3


def test_tasks_of_a_slurm_step_are_one_run_below_their_job(seen: Observed) -> None:
    slurmd = seen.host.found(None, "slurmstepd", cgroup="/system.slice/slurmstepd.scope")
    job = {"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "c"}
    batch = seen.host.spawn(
        slurmd, "bash", "/var/spool/slurm/script", cgroup=STEP.format("batch", 0)
    )
    seen.host.with_environment(batch, **job)
    srun = seen.host.spawn(batch, "srun", "python", "train.py", cgroup=batch.cgroup)
    tasks = []
    for rank in range(2):
        stepd = seen.host.found(
            None, "slurmstepd", boot_id=rank + 1, cgroup=STEP.format(0, "slurm")
        )
        task = seen.host.spawn(stepd, "python", "train.py", cgroup=STEP.format(0, rank))
        own = job | {"SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2"}
        tasks.append(seen.host.with_environment(task, **own))
    seen.deliver()
    run = seen.run(tasks[0])

    assert seen.run(tasks[1]) == run
    assert (run.kind, run.world_size, run.group_key) == ("slurm", 2, "slurm:c/7.0")
    assert run.parent_run_id == seen.run(batch).run_id
    assert seen.run(srun).parent_run_id == seen.run(batch).run_id


def test_a_requeued_job_is_an_attempt(seen: Observed) -> None:
    slurmd = seen.host.found(None, "slurmstepd", cgroup="/system.slice/slurmstepd.scope")
    job = {"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "c"}
    first = seen.host.spawn(slurmd, "bash", "job.sh")
    seen.host.with_environment(first, **job)
    seen.host.end(first, signal=15)
    seen.host.now_ns += 3_600_000_000_000
    second = seen.host.spawn(slurmd, "bash", "job.sh")
    seen.host.with_environment(second, **job, SLURM_RESTART_COUNT="1")
    seen.deliver()

    assert seen.run(first) == seen.run(second)
    assert seen.run(first).attempts == 2


def test_workers_of_a_ray_cluster_belong_to_their_job(seen: Observed) -> None:
    start = node(seen, 1, "python", "/usr/bin/ray", "start", "--head")
    raylet = seen.host.spawn(start, "raylet", exe="/site/ray/raylet")
    workers = []
    for job in ("01", "01", "02"):
        worker = seen.host.spawn(raylet, "python", "default_worker.py")
        workers.append(seen.host.with_environment(worker, RAY_JOB_ID=job))
    seen.deliver()
    one, again, other = (seen.run(each) for each in workers)

    assert one == again
    assert other != one
    assert (one.kind, seen.run(raylet) != one) == ("ray", True)


def test_a_cluster_that_a_driver_started_is_part_of_the_driver(seen: Observed) -> None:
    driver = node(seen, 1, "python", "tune.py")
    raylet = seen.host.spawn(driver, "raylet", exe="/site/ray/raylet")
    worker = seen.host.spawn(raylet, "python", "default_worker.py")
    seen.host.with_environment(worker, RAY_JOB_ID="01")
    seen.deliver()

    assert seen.run(driver) == seen.run(raylet) == seen.run(worker)


def test_a_notebook_is_a_run_of_its_own_with_its_commands_as_steps(seen: Observed) -> None:
    server = node(seen, 1, "python", "/usr/bin/jupyter-lab")
    kernel = seen.host.spawn(server, "python", "-m", "ipykernel_launcher", "-f", "k.json")
    step = seen.host.spawn(kernel, "/bin/bash", "-c", "python prepare.py")
    seen.deliver()

    assert seen.run(kernel).kind == "notebook"
    assert seen.run(step).parent_run_id == seen.run(kernel).run_id


# --- who ---------------------------------------------------------------------------------------


def who(seen: Observed, process: ProcessRow) -> tuple[str | None, str | None, str | None]:
    seen.deliver()
    run = seen.run(process)
    return (run.principal_kind, run.principal, run.acting_for)


def test_a_typed_command_is_a_humans(seen: Observed) -> None:
    assert who(seen, typed(seen.host, terminal(seen.host), "python", "x.py")) == (
        "human",
        "ada",
        None,
    )


@pytest.mark.parametrize(
    ("argv", "exe", "agent"),
    [
        (("claude",), "/usr/bin/node", "claude"),
        (("node", "/usr/local/bin/codex", "exec"), "/usr/bin/node", "codex"),
        (("node", "/opt/cursor-agent/cursor-agent"), "/usr/bin/node", "cursor-agent"),
        (("python", "/usr/bin/aider"), "/usr/bin/python3", "aider"),
    ],
)
def test_what_an_agent_starts_is_the_agents_for_the_human(
    seen: Observed, argv: tuple[str, ...], exe: str, agent: str
) -> None:
    program = typed(seen.host, terminal(seen.host), *argv, exe=exe)
    shell = seen.host.spawn(program, "/bin/bash", "-c", "python x.py && true")
    step = seen.host.spawn(shell, "python", "x.py")

    assert who(seen, step) == ("agent", agent, "ada")
    assert seen.run(shell).run_id != seen.run(program).run_id


def test_an_agent_is_known_by_its_mark_when_nobody_saw_it_start(seen: Observed) -> None:
    job = node(seen, 1, "python", "x.py")
    seen.host.with_environment(job, CLAUDECODE="1")

    assert who(seen, job) == ("agent", "claude", "ada")


def test_cron_and_units_are_services(seen: Observed) -> None:
    system = {"login_uid": 0xFFFFFFFF, "cgroup": "/system.slice/cron.service"}
    cron = seen.host.found(None, "cron", exe="/usr/sbin/cron", uid=0, user_name="root", **system)
    job = seen.host.spawn(cron, "/bin/sh", "-c", "python x.py")
    manager = seen.host.found(None, "init", exe="/usr/lib/systemd/systemd", login_uid=0xFFFFFFFF)
    unit = seen.host.spawn(
        manager, "python", "serve.py", cgroup="/system.slice/train.service", login_uid=0xFFFFFFFF
    )

    assert who(seen, job) == ("service", "cron", "root")
    assert who(seen, unit) == ("service", "train.service", "ada")


def test_sudo_names_the_human(seen: Observed) -> None:
    job = node(seen, 1, "python", "x.py", uid=0, user_name="root", login_uid=0xFFFFFFFF)
    seen.host.with_environment(job, SUDO_USER="grace")

    assert who(seen, job) == ("human", "grace", None)


# --- a site's own rows -------------------------------------------------------------------------


def test_a_site_adds_launchers(seen: Observed) -> None:
    table = extended(
        [
            {"role": "engine", "names": ["ourflow"], "words": "^run"},
            {"role": "agent", "names": ["ourbot"]},
        ]
    )
    flow = seen.host.spawn(None, "ourflow", "run", "all")
    bot = seen.host.spawn(None, "ourbot")
    other = replace(flow, argv=("ourflow", "list"))
    seen.book = RunBook(lambda _: "boot", lambda _: 1, table)
    step = seen.host.spawn(flow, "python", "a.py")
    theirs = seen.host.spawn(bot, "python", "b.py")
    seen.deliver()

    roles = [role_of(each, table) for each in (flow, bot, other)]
    assert roles == [Role.ENGINE, Role.HOST, Role.PROGRAM]
    assert seen.run(step).parent_run_id == seen.run(flow).run_id
    assert who(seen, theirs)[:2] == ("agent", "ourbot")


@pytest.mark.parametrize(
    "row",
    [
        {"role": "chief", "names": ["x"]},
        {"role": "engine"},
        {"role": "engine", "names": "x"},
        {"role": "engine", "names": ["x"], "words": "("},
        {"role": "engine", "names": ["x"], "colour": "blue"},
    ],
)
def test_a_row_that_makes_no_sense_is_refused_in_one_sentence(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match="launchers: ") as refusal:
        extended([row])

    assert "\n" not in str(refusal.value)


def test_the_settings_hold_a_sites_launchers(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('[[launchers]]\nrole = "engine"\nnames = ["ourflow"]\n')
    settings = parse(["--config", str(file)], {})
    row = Observed().host.spawn(None, "ourflow", "run")

    assert role_of(row, settings.launchers) is Role.ENGINE
