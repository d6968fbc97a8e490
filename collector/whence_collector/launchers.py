"""What a program is by its own description: its role, its container, its unit. Pure."""

from __future__ import annotations

import re
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
from whence_collector.launcher_table import STANDARD, LauncherTable, Role

if TYPE_CHECKING:
    from whence_collector.resolved import ProcessRow

__all__ = ["Role", "role_of"]

CANARY_MARK = "whence-canary:"


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


def role_of(row: ProcessRow, launchers: LauncherTable = STANDARD) -> Role:
    """Return the role of a program by its own description, whoever started it."""
    if is_canary(row) or is_question(row):
        return Role.CANARY
    if is_shell(row):
        return _shell_role(row)
    launcher = launchers.match(names_of(row), words_of(row))
    return launcher.role if launcher is not None else Role.PROGRAM


def agent_of(row: ProcessRow, launchers: LauncherTable = STANDARD) -> str | None:
    """Return the name of the coding agent that a program is, None for others."""
    launcher = launchers.match(names_of(row), words_of(row))
    return launcher.agent if launcher is not None else None


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
