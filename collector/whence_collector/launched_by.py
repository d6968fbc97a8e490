"""Who launched a run: a human, a coding agent that acts for one, or a service. Pure.

An agent is known by a program above the run (the launcher table), else by the mark that it leaves
in the environment of what it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.launchers import agent_of, is_cron, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from whence_collector.launcher_table import LauncherTable
    from whence_collector.run_state import Node

NOBODY = 0xFFFFFFFF  # login uid of what no login began
FIRST_USER = 1000  # uids below are of the system
_STEPS_UP = 200

#: Variable, start of its value, agent.
MARKS = (
    ("CLAUDECODE", "", "claude"),
    ("CLAUDE_CODE_ENTRYPOINT", "", "claude"),
    ("CURSOR_AGENT", "", "cursor-agent"),
    ("CODEX_SANDBOX", "", "codex"),
    ("CODEX_SANDBOX_NETWORK_DISABLED", "", "codex"),
    ("GEMINI_CLI", "", "gemini"),
    ("OPENCODE", "", "opencode"),
    ("GOOSE_TERMINAL", "", "goose"),
    ("CLINE_ACTIVE", "", "cline"),
    ("AI_AGENT", "", ""),  # the value is the name
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who launched it; acting_for is the human behind an agent or the user of a service."""

    kind: str  # human, agent, service
    name: str | None
    acting_for: str | None = None


def principal_of(
    root: Node, launchers: LauncherTable, users: Mapping[tuple[int, int], str]
) -> Principal:
    """Return who launched the run of a first program; users names uids by (boot_id, uid)."""
    line = list(_upwards(root))
    human = _human(root, line, users)
    found = (agent_of(node.row, launchers) for node in line)
    agent = next((each for each in found if each), None) or _marked(root)
    if agent is not None:
        return Principal("agent", agent, human)
    if root.row.login_uid == NOBODY:
        service = _service(root, line)
        if service is not None:
            return Principal("service", service, human)
    return Principal("human", human)


def _upwards(root: Node) -> Iterator[Node]:
    """Yield the program, the images before it, and those that forked them."""
    node: Node | None = root
    for _ in range(_STEPS_UP):
        if node is None:
            return
        yield node
        node = node.previous or node.parent


def _human(root: Node, line: list[Node], users: Mapping[tuple[int, int], str]) -> str | None:
    """Return who logged in, else who called sudo, else whose process it is."""
    row = root.row
    if row.login_uid != NOBODY:
        known = users.get((row.boot_id, row.login_uid))
        if known is not None:
            return known
    environment = root.environment
    caller = environment.get("SUDO_USER") if environment is not None else None
    if caller is not None:
        return caller
    people = (node.row for node in line if node.row.uid >= FIRST_USER)
    first = next(people, row)
    return first.user_name or str(first.uid)


def _service(root: Node, line: list[Node]) -> str | None:
    if any(is_cron(node.row) for node in line[1:]):
        return "cron"
    unit = unit_of(root.row)
    return unit if unit is not None and unit.endswith(".service") else None


def _marked(root: Node) -> str | None:
    environment = root.environment
    for variable, start, agent in MARKS if environment is not None else ():
        value = environment.get(variable) if environment is not None else None
        if value is not None and value.startswith(start):
            return agent or value[:64]
    return None
