"""The launcher table: which programs start other people's work, and how.

Data and its matching only; what a role means for runs is decided in runs.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from whence_collector.command_line import (
    base_name,
    is_interpreter,
    is_shell,
    shell_forced_interactive,
    shell_operand,
    shell_reads_input,
    words_of,
)

if TYPE_CHECKING:
    from whence_collector.resolved import ProcessRow

CANARY_MARK = "whence-canary:"


class Role(Enum):
    """What a program is to the programs below it."""

    HOST = "session host"
    INTERACTIVE = "interactive shell"
    SCRIPT = "script"
    ENGINE = "engine"
    RECIPE = "recipe"  # a shell that an engine started: one step whatever it runs
    WRAPPER = "wrapper"
    PROGRAM = "program"
    CANARY = "whence's own"  # the canary, and questions that a person asks with the client


@dataclass(frozen=True, slots=True)
class Launcher:
    """One row: a program whose name is one of names and whose other words match.

    names are compared with the called name, the executable's name and comm; words, where given,
    with the arguments after the name, joined by blanks.
    """

    role: Role
    names: frozenset[str]
    words: re.Pattern[str] | None = None


def _row(role: Role, names: str, words: str | None = None) -> Launcher:
    return Launcher(role, frozenset(names.split()), re.compile(words) if words else None)


LAUNCHERS: tuple[Launcher, ...] = (
    # Service managers, job schedulers, log-ins, terminals: each child is somebody's work.
    _row(Role.HOST, "init systemd systemd-executor (sd-pam) runit runsv runsvdir s6-supervise"),
    _row(Role.HOST, "s6-svscan supervisord openrc-run dbus-daemon dbus-broker-launch xinetd"),
    _row(Role.HOST, "cron crond CRON CROND anacron atd fcron"),
    _row(Role.HOST, "sshd sshd-session sshd-auth dropbear login agetty getty telnetd mosh-server"),
    _row(Role.HOST, "tmux screen SCREEN zellij dtach abduco script ttyd gotty"),
    _row(Role.HOST, "gnome-terminal-server konsole xterm kitty alacritty wezterm-gui foot"),
    _row(Role.HOST, "containerd containerd-shim containerd-shim-runc-v2 conmon dockerd podman"),
    _row(Role.HOST, "kubelet crio slurmd slurmstepd code-server code jupyterhub-singleuser"),
    _row(Role.HOST, "jupyter-lab jupyter-notebook jupyter-server jupyterlab"),
    _row(Role.HOST, "jupyter", r"^(lab|notebook|server)\b"),
    # Coding agents: each command they run is work of its own.
    _row(Role.HOST, "claude codex aider opencode cursor-agent gemini goose openhands crush amp"),
    # Build engines: each recipe is a step.
    _row(Role.ENGINE, "make gmake ninja samu snakemake nextflow scons waf bazel just task tup"),
    _row(Role.ENGINE, "dvc", r"^(repro|exp run)\b"),
    _row(Role.ENGINE, "cmake", r"^--build\b"),
    # Programs that step aside for the one they start.
    _row(Role.WRAPPER, "env nice nohup timeout time setsid stdbuf taskset numactl ionice chrt"),
    _row(Role.WRAPPER, "sudo su doas runuser setpriv chroot unshare nsenter prlimit chpst gosu"),
    _row(Role.WRAPPER, "xargs parallel flock watch strace ltrace perf gdb catchsegv rlwrap"),
    _row(Role.WRAPPER, "setarch systemd-run systemd-inhibit dbus-run-session xvfb-run faketime"),
    _row(Role.WRAPPER, "tini dumb-init docker-init catatonit runc crun bwrap firejail su-exec"),
    _row(Role.WRAPPER, "torchrun deepspeed mpirun mpiexec orterun prterun hydra_pmi_proxy srun"),
    _row(Role.WRAPPER, "torch.distributed.run torch.distributed.launch horovodrun"),
    _row(Role.WRAPPER, "accelerate accelerate.commands.launch", r"^(launch\b|-)"),
    _row(Role.WRAPPER, "uv poetry pipenv conda mamba micromamba pixi hatch pdm rye", r"^run\b"),
    _row(Role.WRAPPER, "busybox", r"^(env|nice|nohup|timeout|time|setsid|xargs)\b"),
)

_LAUNCHER_NAMES = frozenset(name for launcher in LAUNCHERS for name in launcher.names)
CRON_NAMES = frozenset({"cron", "crond", "CRON", "CROND", "anacron", "atd", "fcron"})
MANAGER_NAMES = frozenset({"systemd", "init", "systemd-executor"})

_CONTAINER = re.compile(
    r"(?:docker|libpod|crio|cri-containerd|nerdctl|lxc\.payload)[-./:]([0-9A-Za-z_.-]{6,})|"
    r"kubepods[^ ]*/([0-9a-f]{64})"
)
_UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)")


def names_of(row: ProcessRow) -> frozenset[str]:
    """Return the names that a program goes by: as called, of its executable, and comm."""
    comm = (row.command_name or "").partition(":")[0]
    return frozenset({words_of(row)[0], base_name(row.exe), comm}) - {""}


def role_of(row: ProcessRow) -> Role:
    """Return the role of a program by its own description, whoever started it."""
    if is_canary(row) or is_question(row):
        return Role.CANARY
    if is_shell(row):
        return _shell_role(row)
    names = names_of(row)
    if names.isdisjoint(_LAUNCHER_NAMES):
        return Role.PROGRAM
    words = words_of(row)
    rest = " ".join(words[1:])
    for launcher in LAUNCHERS:
        if names & launcher.names and (launcher.words is None or launcher.words.search(rest)):
            return launcher.role
    return Role.PROGRAM


def is_canary(row: ProcessRow) -> bool:
    """Tell whether a program is a daemon's proof of life."""
    return any(CANARY_MARK in word for word in row.argv)


def is_question(row: ProcessRow) -> bool:
    """Tell whether a program is the client: it reads a file only to ask about it."""
    return is_interpreter(row) and words_of(row)[0] == "whence"


def _shell_role(row: ProcessRow) -> Role:
    if shell_operand(row.argv).kind != "none":
        return Role.SCRIPT
    if shell_forced_interactive(row.argv):
        return Role.INTERACTIVE
    if shell_reads_input(row.argv) or not row.terminal:
        return Role.SCRIPT  # commands come from standard input
    return Role.INTERACTIVE


def is_cron(row: ProcessRow) -> bool:
    """Tell whether a program starts work at set times."""
    return bool(names_of(row) & CRON_NAMES)


def is_service_manager(row: ProcessRow) -> bool:
    """Tell whether a program starts systemd units."""
    return bool(names_of(row) & MANAGER_NAMES)


def container_of(row: ProcessRow) -> str | None:
    """Return the container's id by its control group, None outside of one."""
    found = _CONTAINER.search(row.cgroup or "")
    return (found.group(1) or found.group(2)).removesuffix(".scope") if found else None


def unit_of(row: ProcessRow) -> str | None:
    """Return the innermost systemd unit by its control group, None outside of one."""
    found = _UNIT.findall(row.cgroup or "")
    return found[-1] if found else None
