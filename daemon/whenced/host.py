"""Probe this host for what capture needs: facts, no judgement (that is plan.py)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from whenced.libbpf import BpfError, Libbpf

TRACEPOINTS: Final = (
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
    "sys_exit",
    "io_uring_complete",
    "io_uring_submit_req",
    "ctime_ns_xchg",
    "ctime_xchg_skip",
    "inode_set_ctime_to_ts",
)
KERNEL_FUNCTIONS: Final = ("bpf_rdonly_cast", "bpf_iter_task", "bpf_loop")
# Of single .c files of io_uring: they tell which names a request changes.
KERNEL_STRUCTS: Final = ("io_worker", "io_rename", "io_link", "io_unlink")
CAPABILITIES: Final = {"cap_sys_admin": 21, "cap_sys_ptrace": 19, "cap_perfmon": 38, "cap_bpf": 39}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was found; unknown is None."""

    kernel: str
    machine: str
    uid: int
    has_btf: bool
    libbpf_error: str | None
    capabilities: frozenset[str]
    tracepoint_arguments: dict[str, int | None]
    kernel_functions: frozenset[str]
    kernel_structs: frozenset[str]
    has_cgroup2: bool
    has_nvidia_fs: bool
    object_built: bool


def effective_capabilities(status: str) -> frozenset[str]:
    """Names of CAPABILITIES in the CapEff line of a /proc/PID/status text."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for name, bit in CAPABILITIES.items() if mask >> bit & 1)
    return frozenset()


def _has_cgroup2(mounts: str) -> bool:
    return any(line.split()[2] == "cgroup2" for line in mounts.splitlines() if line.count(" ") > 2)


def probe(root: Path = Path("/"), library: str | None = None) -> HostFacts:
    """Look at the host below ``root`` (procfs, sysfs) and at libbpf."""
    error: str | None = None
    arguments: dict[str, int | None] = dict.fromkeys(TRACEPOINTS)
    functions: frozenset[str] = frozenset()
    structs: frozenset[str] = frozenset()
    has_btf = (root / "sys/kernel/btf/vmlinux").exists()
    try:
        libbpf = Libbpf(library)
        if has_btf:
            with libbpf.kernel_types() as types:
                arguments = {name: types.tracepoint_arguments(name) for name in TRACEPOINTS}
                functions = frozenset(filter(types.has_function, KERNEL_FUNCTIONS))
                structs = frozenset(filter(types.has_struct, KERNEL_STRUCTS))
    except BpfError as failure:
        error = str(failure)
    object_file = Path(__file__).parent / "_bpf" / "capture.bpf.o"
    uname = os.uname()
    return HostFacts(
        kernel=uname.release,
        machine=uname.machine,
        uid=os.geteuid(),
        has_btf=has_btf,
        libbpf_error=error,
        capabilities=effective_capabilities((root / "proc/self/status").read_text()),
        tracepoint_arguments=arguments,
        kernel_functions=functions,
        kernel_structs=structs,
        has_nvidia_fs=(root / "proc/driver/nvidia-fs").exists(),
        has_cgroup2=_has_cgroup2((root / "proc/self/mounts").read_text()),
        object_built=object_file.exists(),
    )
