"""The launcher table: which programs start other people's work, and how.

Data and its matching only; what a role means for runs is decided in placement.py. A site adds rows
of its own in the collector's settings; they are asked first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from whence_collector.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Role(Enum):
    """What a program is to the programs below it."""

    HOST = "session host"
    INTERACTIVE = "interactive shell"
    SCRIPT = "script"
    ENGINE = "engine"
    RECIPE = "recipe"  # a shell that an engine started: one step whatever it runs
    WRAPPER = "wrapper"
    PROGRAM = "program"
    NOTEBOOK = "notebook"  # a program that lives for days and works now and then
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
    agent: str | None = None  # of a coding agent, the name that it goes by


def _row(role: Role, names: str, words: str | None = None) -> Launcher:
    return Launcher(role, frozenset(names.split()), re.compile(words) if words else None)


def _agent(agent: str, names: str, words: str | None = None) -> Launcher:
    return Launcher(
        Role.HOST, frozenset(names.split()), re.compile(words) if words else None, agent
    )


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
    _agent("claude", "claude claude-code"),
    _agent("codex", "codex codex-cli codex-exec"),
    _agent("cursor-agent", "cursor-agent"),
    _agent("aider", "aider"),
    _agent("gemini", "gemini gemini-cli"),
    _agent("copilot", "copilot"),
    _agent("opencode", "opencode"),
    _agent("goose", "goose goosed"),
    _agent("openhands", "openhands"),
    _agent("crush", "crush"),
    _agent("amp", "amp"),
    _agent("qwen", "qwen qwen-code"),
    _agent("cline", "cline"),
    _agent("mini-swe-agent", "mini mini-swe-agent mini-extra"),
    # Kernels of notebooks: each is one run, which works now and then.
    _row(Role.NOTEBOOK, "ipykernel_launcher ipykernel colab_kernel_launcher xpython"),
    # Build engines: each recipe is a step.
    _row(Role.ENGINE, "make gmake ninja samu snakemake nextflow scons waf bazel just task tup"),
    _row(Role.ENGINE, "dvc", r"^(repro|exp run)\b"),
    _row(Role.ENGINE, "cmake", r"^--build\b"),
    _row(Role.ENGINE, "luigi doit invoke inv tox nox gradle mvn ant rake meson guild buck2 pants"),
    _row(Role.ENGINE, "kedro mlflow zenml pyflyte", r"^run\b"),
    _row(Role.ENGINE, "cargo", r"^(build|test|run|bench)\b"),
    # Servers of workflows and of continuous integration: each task is work of its own.
    _row(Role.HOST, "airflow", r"^(scheduler|standalone|celery worker|triggerer|api-server)\b"),
    _row(Role.HOST, "prefect", r"^(worker|agent|server)\b"),
    _row(Role.HOST, "dagster dagster-daemon", r"^(dev|daemon|run)\b"),
    _row(Role.HOST, "luigid gitlab-runner buildkite-agent Runner.Listener Runner.Worker jenkins"),
    # A cluster's own processes; its workers belong to the job that they work for (groups.py).
    _row(Role.HOST, "ray", r"^start\b"),
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

_ROLES = {
    "host": Role.HOST,
    "engine": Role.ENGINE,
    "wrapper": Role.WRAPPER,
    "program": Role.PROGRAM,
    "notebook": Role.NOTEBOOK,
    "agent": Role.HOST,
}


class LauncherTable:
    """Rows in the order in which they are asked; most programs have a name that no row has."""

    def __init__(self, launchers: Iterable[Launcher]) -> None:
        self._by_name: dict[str, list[tuple[int, Launcher]]] = {}
        for place, launcher in enumerate(launchers):
            for name in launcher.names:
                self._by_name.setdefault(name, []).append((place, launcher))

    def match(self, names: Iterable[str], words: Sequence[str]) -> Launcher | None:
        """Return the first row that has one of the names and whose pattern the words match."""
        found = [each for name in names for each in self._by_name.get(name, ())]
        if not found:
            return None
        rest = " ".join(words[1:])
        for _, launcher in sorted(found, key=lambda each: each[0]):
            if launcher.words is None or launcher.words.search(rest):
                return launcher
        return None


STANDARD = LauncherTable(LAUNCHERS)


def extended(rows: Iterable[Mapping[str, Any]]) -> LauncherTable:
    """Return the table with a site's rows before its own.

    A row has ``role`` (host, engine, wrapper, program, notebook, agent), ``names``, and may have
    ``words``, a pattern for the arguments. Raises InvalidSetting with the row and the remedy.
    """
    return LauncherTable([*map(_launcher_of, rows), *LAUNCHERS])


def _launcher_of(row: Mapping[str, Any]) -> Launcher:
    unknown = sorted(set(row) - {"role", "names", "words"})
    if unknown:
        raise InvalidSetting(
            f"launchers: {unknown[0]!r} means nothing there; a row has role, names and words"
        )
    role = _ROLES.get(str(row.get("role")))
    names = row.get("names")
    if role is None:
        raise InvalidSetting(
            f"launchers: role {row.get('role')!r} does not exist; use one of {', '.join(_ROLES)}"
        )
    if not (isinstance(names, list) and names and all(isinstance(each, str) for each in names)):
        raise InvalidSetting(
            f"launchers: names of {row['role']!r} must be a list of program names, not {names!r}"
        )
    try:
        words = re.compile(row["words"]) if "words" in row else None
    except (re.error, TypeError) as error:
        raise InvalidSetting(
            f"launchers: words of {names[0]!r} is no pattern ({error}); it is one of Python"
        ) from None
    return Launcher(role, frozenset(names), words, names[0] if row["role"] == "agent" else None)
