"""Decide what to load from what the host offers: pure, one Plan, one reason for each gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whenced.host import KERNEL_STRUCTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whenced.host import HostFacts

BACK_END: Final = "tp_btf"
ITERATORS: Final = ("seen_process", "seen_file", "seen_mapping")

# program -> (tracepoint, what is blind without it)
PROGRAMS: Final = {
    "on_fork": ("sched_process_fork", "process ancestry"),
    "on_exec": ("sched_process_exec", "programs and their arguments"),
    "on_exit": ("sched_process_exit", "ends and exit codes of processes"),
    "on_call": ("sys_exit", "files through system calls"),
    "on_uring": ("io_uring_complete", "files through io_uring"),
    "on_uring_submit": ("io_uring_submit_req", "io_uring requests that ask for no completion"),
    "on_change": ("ctime_ns_xchg", "stores to shared mappings, identities behind new names"),
    "on_change_in_tick": ("ctime_xchg_skip", "names changed twice within a tick"),
    "on_change_set": ("inode_set_ctime_to_ts", "names on file systems with coarse time stamps"),
}
_CHANGES: Final = ("on_change", "on_change_in_tick", "on_change_set")
OPTIONAL: Final = frozenset({"on_uring", "on_uring_submit", *_CHANGES})


# What no hook of this back end follows: (what is not seen, what whence does instead).
BLIND: Final = {
    "see:block_devices": (
        "bytes below a file system, on a block device",
        "nothing to repair: a run that uses a block device says that it is incomplete",
    ),
    "see:io_uring_commands": (
        "commands to drivers through io_uring (passthrough, encoded reads)",
        "nothing to repair: a run that sends one to a file or device says that it is incomplete",
    ),
    "see:network": (
        "where bytes that come over a socket are from",
        "nothing to repair: what is stored in a file is seen as written by the program",
    ),
}


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that the host must or should offer."""

    name: str
    ok: bool
    detail: str
    remedy: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What to load and attach, and what will not be seen."""

    attached: tuple[str, ...]
    left_out: tuple[str, ...]
    uring_cqe_argument: bool
    scope_cgroups: tuple[str, ...]
    scope_uids: tuple[int, ...]
    abilities: tuple[Ability, ...]

    @property
    def blockers(self) -> tuple[Ability, ...]:
        """Required abilities that are missing: capture cannot start."""
        return tuple(a for a in self.abilities if a.required and not a.ok)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of everything missing, sorted."""
        return tuple(sorted(a.name for a in self.abilities if not a.ok))

    @property
    def present(self) -> tuple[str, ...]:
        """Names of everything found, sorted."""
        return tuple(sorted(a.name for a in self.abilities if a.ok))


def _host_abilities(facts: HostFacts) -> list[Ability]:
    return [
        Ability("root", facts.uid == 0, f"uid {facts.uid}", "run whenced as root (sudo)"),
        Ability(
            "btf",
            facts.has_btf,
            "/sys/kernel/btf/vmlinux",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions build theirs",
        ),
        Ability(
            "libbpf",
            facts.libbpf_error is None,
            facts.libbpf_error or "libbpf.so.1",
            "apt-get install libbpf1",
        ),
        Ability(
            "programs",
            facts.object_built,
            "capture.bpf.o",
            "build them with `make -C bpf` (needs clang)",
        ),
        Ability(
            "x86_64",
            facts.machine == "x86_64",
            facts.machine,
            "this back end knows the system calls of x86_64 only",
        ),
        Ability(
            "cgroup2",
            facts.has_cgroup2,
            "cgroup version 2 mount",
            "mount -t cgroup2 none /sys/fs/cgroup/unified, to tell units and containers apart",
            required=False,
        ),
        *(
            Ability(
                name,
                name in facts.capabilities,
                "effective capability",
                f"grant {name.upper()} to whenced (AmbientCapabilities= in its unit)",
            )
            for name in ("cap_bpf", "cap_perfmon", "cap_sys_ptrace")
        ),
    ]


def _kernel_abilities(facts: HostFacts) -> list[Ability]:
    hooks = [
        Ability(
            f"hook:{tracepoint}",
            facts.tracepoint_arguments.get(tracepoint) is not None,
            f"tp_btf/{tracepoint}: {sight}",
            f"the kernel has no tracepoint {tracepoint}: {sight} will not be seen",
            required=program not in OPTIONAL,
        )
        for program, (tracepoint, sight) in PROGRAMS.items()
    ]
    cast = Ability(
        "kfunc:bpf_rdonly_cast",
        "bpf_rdonly_cast" in facts.kernel_functions,
        "typed reads, Linux 6.2",
        "boot Linux 6.2 or newer",
    )
    return [*hooks, cast]


def _sights(facts: HostFacts) -> list[Ability]:
    """What can be seen here beyond single hooks; a run that goes where it is dark says so."""
    hooked = all(facts.tracepoint_arguments.get(PROGRAMS[name][0]) for name in _CHANGES)
    return [
        Ability(
            "see:io_uring_names",
            hooked and facts.kernel_structs >= frozenset(KERNEL_STRUCTS),
            "renames, links and deletions through io_uring",
            "boot Linux 6.13 or newer with full BTF; until then runs that do it say so",
            required=False,
        ),
        Ability(
            "see:gpudirect_storage",
            not facts.has_nvidia_fs,
            "no nvidia-fs driver, so no reads past the page cache"
            if not facts.has_nvidia_fs
            else "nvidia-fs is loaded: the GPU reads files without a call",
            "reads are inferred from opens and the runs say so; unloading nvidia-fs makes "
            "cuFile use ordinary calls (compatibility mode)",
            required=False,
        ),
        *(Ability(name, False, *words, required=False) for name, words in BLIND.items()),
    ]


def make(
    facts: HostFacts, scope_cgroups: Sequence[str] = (), scope_uids: Sequence[int] = ()
) -> Plan:
    """Return the plan for a host; nothing is touched."""
    abilities = [*_host_abilities(facts), *_kernel_abilities(facts), *_sights(facts)]
    seen = {a.name.removeprefix("hook:") for a in abilities if a.ok}
    attached = tuple(name for name, (tracepoint, _) in PROGRAMS.items() if tracepoint in seen)
    return Plan(
        attached=attached,
        left_out=tuple(name for name in PROGRAMS if name not in attached),
        # 6.15 replaced (user_data, res, cflags, …) by the completion entry
        uring_cqe_argument=facts.tracepoint_arguments.get("io_uring_complete") == 3,
        scope_cgroups=tuple(scope_cgroups),
        scope_uids=tuple(scope_uids),
        abilities=tuple(abilities),
    )
