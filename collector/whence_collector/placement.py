"""The table that places a program: which run it belongs to, given the program above it.

Pure decisions; runs.py carries them out. Source of the rules: docs/design/0001-the-spine.md,
"What a run is".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from whence_collector.command_line import is_interpreter, operand_of
from whence_collector.launchers import (
    Role,
    container_of,
    is_cron,
    is_question,
    is_service_manager,
    unit_of,
)

if TYPE_CHECKING:
    from whence_collector.resolved import ProcessRow
    from whence_collector.run_state import Node

KIND_OF_ROLE = {
    Role.HOST: "session",
    Role.INTERACTIVE: "session",
    Role.SCRIPT: "script",
    Role.RECIPE: "step",
    Role.ENGINE: "make",
    Role.NOTEBOOK: "notebook",
    Role.CANARY: "canary",
}


WORKING = frozenset({Role.PROGRAM, Role.NOTEBOOK})


KERNEL_THREADS_TGID = 2


class Place(Enum):
    """Where a program goes."""

    RUN = "the first process of a new run"
    STEP = "the first process of a step"
    GROUP = "of the job of its process group"
    SAME = "of the run of the program above"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision: where to, of which kind (for new runs and steps), in which role."""

    place: Place
    kind: str
    role: Role


def place_program(node: Node, above: Node | None) -> Verdict:
    """Decide on a program that executed, or that a snapshot found; above may be unknown."""
    row, own = node.row, node.role
    if above is None or above.run is None:
        return Verdict(Place.RUN, _kind(row, own, None), own)
    role = effective_role(above, node)
    boundary = boundary_kind(row, above.row, leaves_namespaces=role is Role.WRAPPER)
    if boundary is not None and role is not Role.CANARY:
        return Verdict(Place.RUN, boundary or _kind(row, own, above.row), own)
    if role is Role.HOST or own is Role.CANARY:
        return Verdict(Place.RUN, _kind(row, own, above.row), own)
    if role is Role.INTERACTIVE:
        return Verdict(Place.GROUP, _kind(row, own, None), own)
    if role is Role.CANARY:
        return Verdict(Place.SAME, "", Role.CANARY)
    return _place_below_work(node, above, role)


def _place_below_work(node: Node, above: Node, role: Role) -> Verdict:
    own = node.role
    step_kind = "script" if own is Role.SCRIPT else "step"
    if role is Role.ENGINE:
        is_recipe = own is Role.SCRIPT and operand_of(node.row).kind == "text"
        return Verdict(Place.STEP, "step", Role.RECIPE if is_recipe else own)
    if role is Role.SCRIPT:
        return Verdict(Place.STEP, step_kind, own)
    if role in WORKING and own is Role.INTERACTIVE:
        return Verdict(Place.RUN, "session", own)
    if role in WORKING and (own is Role.SCRIPT or starts_another_script(node, above)):
        return Verdict(Place.STEP, step_kind, own)
    return Verdict(Place.SAME, "", own)


def effective_role(above: Node, node: Node) -> Role:
    """Return the role that counts: a program from before capture hosts what it starts now."""
    if above.snapshot and above.role is Role.PROGRAM and not node.snapshot:
        return Role.HOST
    return above.role


def starts_another_script(node: Node, above: Node) -> bool:
    """Tell whether an interpreter below an interpreter runs a script or module of its own."""
    if not (is_interpreter(node.row) and is_interpreter(above.row)):
        return False
    operand, other = operand_of(node.row), operand_of(above.row)
    is_own = operand.kind in ("file", "module")
    return is_own and (operand.kind, operand.text) != (other.kind, other.text)


def boundary_kind(
    row: ProcessRow, above: ProcessRow, *, leaves_namespaces: bool = False
) -> str | None:
    """Return the kind of a run that begins by a change of container or unit, None without one.

    An empty text says that a run begins and that its role tells the kind. leaves_namespaces: what
    stands above is a wrapper (unshare, bwrap), whose whole work is to change them.
    """
    if row.cgroup is None or above.cgroup is None:
        return None
    container = container_of(row)
    apart = _namespaces_differ(row, above) and not leaves_namespaces
    if container != container_of(above) or apart:
        return "container" if container or apart else ""
    unit = unit_of(row)
    if unit != unit_of(above):
        return "unit" if unit and not unit.startswith(("session-", "user@")) else ""
    return None


def _namespaces_differ(row: ProcessRow, above: ProcessRow) -> bool:
    pairs = (
        (row.mount_namespace, above.mount_namespace),
        (row.pid_namespace, above.pid_namespace),
    )
    return all(mine and other and mine != other for mine, other in pairs)


def _kind(row: ProcessRow, role: Role, above: ProcessRow | None) -> str:
    if role is Role.CANARY:
        return "question" if is_question(row) else "canary"
    unit = unit_of(row) or ""
    if above is not None and is_cron(above):
        return "cron"
    if above is None and container_of(row):
        return "container"
    if unit.endswith(".service") and above is not None and is_service_manager(above):
        return "unit"
    return KIND_OF_ROLE.get(role, "job")


def starts_anew(node: Node, before: Node) -> bool:
    """Tell whether an exec begins other work: what a host or a shell became, another container."""
    hosts = before.role in (Role.HOST, Role.INTERACTIVE)
    return hosts or boundary_kind(node.row, before.row) is not None


def restored_role(node: Node) -> Role:
    """Return the role that a program had by its place, after a restart."""
    above = node.parent
    if node.previous is not None and node.previous.role is Role.CANARY:
        return Role.CANARY
    if above is None:
        return node.role
    if node.forked:
        return Role.SCRIPT if above.role is Role.INTERACTIVE else above.role
    if above.role is Role.CANARY:
        return Role.CANARY
    is_recipe = above.role is Role.ENGINE and node.role is Role.SCRIPT
    return Role.RECIPE if is_recipe and operand_of(node.row).kind == "text" else node.role


def is_kernel_thread(node: Node) -> bool:
    """Tell whether a process has no program at all."""
    row = node.row
    parent = node.parent.row.tgid if node.parent is not None else 0
    return not row.exe and not row.argv and KERNEL_THREADS_TGID in (row.tgid, parent)
