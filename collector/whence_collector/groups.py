"""What programs on one or several hosts have in common that makes them one run. Pure.

Read from environments and control groups, strongest evidence first: Slurm's job and step, Ray's
job, the name space of MPI processes, the rendezvous of torchrun. Sources: slurmstepd(8) and srun(1)
for the names of Slurm, torch.distributed.run for those of torchrun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whence_collector.run_state import Environment, Node

SECOND_NS = 1_000_000_000
#: Clocks of hosts differ, and ranks do not begin at once.
NEAR_NS = 60 * SECOND_NS
#: A job may wait in its queue before it begins again.
REQUEUED_NS = 7 * 24 * 3600 * SECOND_NS

_SLURM = re.compile(r"/job_(\d+)/step_([^/]+)")
_SLURM_STEPS = frozenset({"batch", "extern", "interactive"})
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|::1|0\.0\.0\.0)\Z")
_NO_RUN_ID = frozenset({"", "none"})


@dataclass(frozen=True, slots=True)
class Group:
    """A key that all processes of one run share.

    begins: a program whose key differs from that of the program above it begins a run, of that
    kind; otherwise the key only joins the runs that it is seen in. near_ns: how far apart in time
    two runs of one key may be and still be one.
    """

    key: str
    kind: str
    begins: bool
    near_ns: int
    world_size: int | None = None
    attempt: int = 0  # restarts before this one
    above: str | None = None  # key of the run that this one is a step of


def group_of(node: Node) -> Group | None:
    """Return the group of a program by its environment and control group, None for none."""
    environment = node.environment
    slurm = _slurm(node, environment)
    if slurm is not None or environment is None:
        return slurm
    return _ray(environment) or _mpi(environment) or _torch(node, environment)


def _slurm(node: Node, environment: Environment | None) -> Group | None:
    found = _SLURM.search(node.row.cgroup or "")
    named = environment.get if environment is not None else _nothing
    job, step = (found[1], found[2]) if found else (named("SLURM_JOB_ID"), None)
    if job is None:
        return None
    if step is None:
        # srun gives its tasks a place among the processes; a batch script has none of its own.
        is_task = named("SLURM_PROCID") is not None and named("SLURM_STEP_ID") is not None
        step = named("SLURM_STEP_ID") if is_task else "batch"
    cluster = named("SLURM_CLUSTER_NAME") or ""
    whole = f"slurm:{named('SLURM_JOB_SLUID') or f'{cluster}/{job}'}"
    is_batch = step in _SLURM_STEPS
    tasks = named("SLURM_STEP_NUM_TASKS") or named("SLURM_NTASKS")
    return Group(
        key=f"{whole}.{step}",
        kind="slurm",
        begins=True,
        near_ns=REQUEUED_NS if named("SLURM_RESTART_COUNT") else NEAR_NS,
        world_size=None if is_batch else _number(tasks),
        attempt=_number(named("SLURM_RESTART_COUNT")) or 0,
        above=None if is_batch else f"{whole}.batch",
    )


def _ray(environment: Environment) -> Group | None:
    job = environment.get("RAY_JOB_ID")
    if job is None:
        return None
    cluster = environment.get("RAY_ADDRESS") or environment.get("RAY_CLUSTER_NAME") or ""
    return Group(f"ray:{cluster}/{job}", "ray", begins=True, near_ns=NEAR_NS)


def _mpi(environment: Environment) -> Group | None:
    named = environment.get
    space = named("PMIX_NAMESPACE") or named("OMPI_MCA_ess_base_jobid") or named("PMI_JOBID")
    size = _number(named("OMPI_COMM_WORLD_SIZE") or named("PMI_SIZE"))
    if space is None or size is None:
        return None
    return Group(f"mpi:{space}", "job", begins=False, near_ns=NEAR_NS, world_size=size)


def _torch(node: Node, environment: Environment) -> Group | None:
    """Ranks of torchrun; its run id is the word none in the common static launch."""
    named = environment.get
    size, address = _number(named("WORLD_SIZE")), named("MASTER_ADDR")
    if size is None or named("RANK") is None:
        return None
    run_id = named("TORCHELASTIC_RUN_ID") or ""
    attempt = _number(named("TORCHELASTIC_RESTART_COUNT")) or 0
    if run_id not in _NO_RUN_ID:
        key = f"torchrun:{run_id}"
    elif address is not None:
        host = f"{node.row.boot_id}:" if _LOOPBACK.match(address) else ""
        key = f"torchrun:{host}{address}:{named('MASTER_PORT') or ''}/{size}"
    else:
        return None
    return Group(key, "job", begins=False, near_ns=NEAR_NS, world_size=size, attempt=attempt)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 8 else None


def _nothing(_: str) -> None:
    return None
