"""What is loaded on a host, and what is said of each thing that it lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whenced.host import KERNEL_STRUCTS, HostFacts
from whenced.plan import BLIND, PROGRAMS, Plan, make

EVERYTHING = HostFacts(
    kernel="6.18.0",
    machine="x86_64",
    uid=0,
    has_btf=True,
    libbpf_error=None,
    capabilities=frozenset(("cap_sys_admin", "cap_sys_ptrace", "cap_perfmon", "cap_bpf")),
    tracepoint_arguments={
        "sched_process_fork": 2,
        "sched_process_exec": 3,
        "sched_process_exit": 2,
        "sys_exit": 2,
        "io_uring_complete": 3,
        "io_uring_submit_req": 1,
        "ctime_ns_xchg": 4,
        "ctime_xchg_skip": 2,
        "inode_set_ctime_to_ts": 2,
    },
    kernel_functions=frozenset(("bpf_rdonly_cast", "bpf_iter_task", "bpf_loop")),
    kernel_structs=frozenset(KERNEL_STRUCTS),
    has_cgroup2=True,
    has_nvidia_fs=False,
    object_built=True,
)


def without_hook(tracepoint: str) -> dict[str, Any]:
    return {"tracepoint_arguments": EVERYTHING.tracepoint_arguments | {tracepoint: None}}


def without_capability(name: str) -> dict[str, Any]:
    return {"capabilities": EVERYTHING.capabilities - {name}}


REQUIRED = [
    ("root", {"uid": 1000}, "sudo"),
    ("btf", {"has_btf": False}, "CONFIG_DEBUG_INFO_BTF=y"),
    ("libbpf", {"libbpf_error": "no libbpf.so.1"}, "apt-get install libbpf1"),
    ("programs", {"object_built": False}, "make -C bpf"),
    ("x86_64", {"machine": "aarch64"}, "x86_64"),
    ("cap_bpf", without_capability("cap_bpf"), "CAP_BPF"),
    ("cap_perfmon", without_capability("cap_perfmon"), "CAP_PERFMON"),
    ("cap_sys_ptrace", without_capability("cap_sys_ptrace"), "CAP_SYS_PTRACE"),
    ("hook:sched_process_fork", without_hook("sched_process_fork"), "process ancestry"),
    ("hook:sched_process_exec", without_hook("sched_process_exec"), "programs"),
    ("hook:sched_process_exit", without_hook("sched_process_exit"), "exit codes"),
    ("hook:sys_exit", without_hook("sys_exit"), "system calls"),
    (
        "kfunc:bpf_rdonly_cast",
        {"kernel_functions": frozenset(("bpf_iter_task", "bpf_loop"))},
        "Linux 6.2",
    ),
]
OPTIONAL = [
    ("cgroup2", {"has_cgroup2": False}, "mount -t cgroup2"),
    ("hook:io_uring_complete", without_hook("io_uring_complete"), "io_uring"),
    ("hook:io_uring_submit_req", without_hook("io_uring_submit_req"), "no completion"),
    ("see:io_uring_names", {"kernel_structs": frozenset()}, "Linux 6.13"),
    ("see:gpudirect_storage", {"has_nvidia_fs": True}, "inferred from opens"),
]
CHANGE_HOOKS = ["ctime_ns_xchg", "ctime_xchg_skip", "inode_set_ctime_to_ts"]


def test_a_host_with_everything_lacks_what_no_hook_sees() -> None:
    plan = make(EVERYTHING)

    assert (plan.blockers, plan.missing, plan.left_out) == ((), tuple(sorted(BLIND)), ())
    assert plan.attached == tuple(PROGRAMS)
    assert set(plan.present) == {ability.name for ability in plan.abilities} - set(BLIND)


@pytest.mark.parametrize("tracepoint", CHANGE_HOOKS)
def test_without_a_hook_on_changes_names_rest_on_strings(tracepoint: str) -> None:
    plan = make(replace(EVERYTHING, **without_hook(tracepoint)))

    assert gaps(plan) == (f"hook:{tracepoint}", "see:io_uring_names")
    assert plan.blockers == ()


def gaps(plan: Plan) -> tuple[str, ...]:
    """Return what is missing beyond what no hook sees."""
    return tuple(name for name in plan.missing if name not in BLIND)


@pytest.mark.parametrize(("name", "change", "remedy"), REQUIRED)
def test_without_this_capture_cannot_start(name: str, change: Any, remedy: str) -> None:
    plan = make(replace(EVERYTHING, **change))

    assert [ability.name for ability in plan.blockers] == [name]
    assert gaps(plan) == (name,)
    assert remedy in plan.blockers[0].remedy


@pytest.mark.parametrize(("name", "change", "remedy"), OPTIONAL)
def test_without_this_there_is_a_named_gap(name: str, change: Any, remedy: str) -> None:
    plan = make(replace(EVERYTHING, **change))

    (gap,) = (ability for ability in plan.abilities if ability.name == name)

    assert plan.blockers == ()
    assert gaps(plan) == (name,)
    assert remedy in gap.remedy


def test_every_ability_is_taken_away_above() -> None:
    tried = {name for name, _, _ in [*REQUIRED, *OPTIONAL]}

    tried |= {f"hook:{tracepoint}" for tracepoint in CHANGE_HOOKS} | set(BLIND)

    assert {ability.name for ability in make(EVERYTHING).abilities} == tried


def test_a_program_without_its_tracepoint_is_left_out() -> None:
    plan = make(replace(EVERYTHING, **without_hook("io_uring_complete")))

    assert plan.left_out == ("on_uring",)
    assert plan.attached == tuple(name for name in PROGRAMS if name != "on_uring")


@pytest.mark.parametrize(("arguments", "cqe"), [(3, True), (7, False), (None, False)])
def test_the_completion_entry_is_an_argument_since_linux_6_15(
    arguments: int | None, cqe: bool
) -> None:
    hooks = EVERYTHING.tracepoint_arguments | {"io_uring_complete": arguments}

    assert make(replace(EVERYTHING, tracepoint_arguments=hooks)).uring_cqe_argument is cqe


def test_the_first_blocker_is_the_one_to_mend_first() -> None:
    bare = replace(
        EVERYTHING, uid=1000, has_btf=False, libbpf_error="none", capabilities=frozenset(),
        tracepoint_arguments={}, kernel_functions=frozenset(),
    )  # fmt: skip

    assert [ability.name for ability in make(bare).blockers[:3]] == ["root", "btf", "libbpf"]


def test_the_scope_is_taken_over() -> None:
    plan = make(EVERYTHING, ["/sys/fs/cgroup/jobs"], [1000, 1001])

    assert (plan.scope_cgroups, plan.scope_uids) == (("/sys/fs/cgroup/jobs",), (1000, 1001))
