"""What run assembly remembers: programs, runs, and a run as it is stored.

Plain mutable state of one RunBook; the rules that change it are in runs.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence_collector.command_line import (
    base_name,
    command_of,
    is_shell,
    operand_of,
    typed_arguments,
    uses_arguments,
)
from whence_collector.launchers import Role, container_of

if TYPE_CHECKING:
    from whence_collector.launched_by import Principal
    from whence_collector.resolved import CodeRow, EndRow, ProcessRow

Thread = tuple[int, int, int]  # boot_id, tgid, start_ns: a process id's whole life
MODIFIED_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the table ``run`` holds it; times in Unix ns, None where unknown."""

    run_id: str
    kind: str
    parent_run_id: str | None
    root_process_id: int
    host_id: int
    command: str
    argv: tuple[str, ...]
    cwd: str | None
    uid: int | None
    user_name: str | None
    started_ns: int
    ended_ns: int | None
    status: str
    exit_code: int | None
    repository: str | None
    git_commit: str | None
    git_branch: str | None
    git_dirty: bool | None
    git_modified: tuple[str, ...] | None
    project: str | None
    request_id: str | None
    complete: bool
    incomplete_reason: str | None
    group_key: str | None
    environment_id: int | None = None
    container_id: str | None = None
    principal_kind: str | None = None
    principal: str | None = None
    acting_for: str | None = None
    claim_id: str | None = None
    world_size: int | None = None
    attempts: int | None = None
    lost_records: int | None = None
    unobserved_ns: int | None = None
    accounted_bytes: int | None = None
    seen_bytes: int | None = None
    lacking_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Allowed variables of a program, under the number that they are stored by."""

    environment_id: int
    variables: dict[str, str]

    def get(self, name: str) -> str | None:
        """Return a variable that is set and not empty."""
        return self.variables.get(name) or None


@dataclass(slots=True, eq=False)
class Node:
    """One program (process image) and its place."""

    row: ProcessRow
    role: Role
    parent: Node | None = None  # the program that forked the process id
    previous: Node | None = None  # the image before this one
    following: Node | None = None  # the image after this one
    forked: bool = False  # runs its parent's program: no exec of its own yet
    pending: bool = False  # forked by an interactive shell, process group not yet seen
    snapshot: bool = False  # ran before capture began
    run: Run | None = None
    scope: Run | None = None  # steps below this program belong to this run
    end: EndRow | None = None
    stored_run_id: str | None = None
    own_environment: Environment | None = None

    @property
    def thread(self) -> Thread:
        """The life of the process id that this image is a part of."""
        return (self.row.boot_id, self.row.tgid, self.row.start_ns)

    @property
    def environment(self) -> Environment | None:
        """Its own, else that of the image before it or of the program that forked it."""
        node: Node | None = self
        while node is not None and node.own_environment is None:
            node = node.previous or node.parent
        return node.own_environment if node is not None else None

    @property
    def order(self) -> tuple[int, int, int]:
        """Start order on one boot."""
        return (self.row.start_ns, self.row.tgid, self.row.image)


@dataclass(slots=True, eq=False)
class Run:
    """One run while it can still change."""

    run_id: str
    boot_id: int
    kind: str
    root: Node
    parent: Run | None
    started_ns: int
    group: tuple[int, int, int] | None = None  # shell's process_id, session, process group
    stages: list[Node] = field(default_factory=list)  # the heads of a pipeline, or the root
    members: dict[int, Node] = field(default_factory=dict)
    live: set[Thread] = field(default_factory=set)
    last_ns: int = 0
    root_end: EndRow | None = None
    code: CodeRow | None = None
    gaps: dict[str, int] = field(default_factory=dict)  # reason -> records lost
    blind: set[str] = field(default_factory=set)  # ways that capture could not follow
    snapshot: bool = False
    unobserved: list[str] = field(default_factory=list)  # one sentence for each time
    unobserved_ns: int = 0
    known_reason: str | None = None  # incomplete already before a restart
    known_lost: int = 0
    accounted_bytes: int = 0  # what the kernel says that its processes read and wrote
    seen_bytes: int = 0
    lacking_bytes: int = 0
    known_lacking: int = 0  # told by known_reason
    merged_into: Run | None = None
    command: str | None = None  # kept from before a restart, when stages are not known
    stored: RunRecord | None = None
    principal: Principal | None = None
    group_key: str | None = None  # what its ranks and hosts have in common
    world_size: int | None = None
    attempts: int | None = None
    peers: dict[Thread, EndRow | None] = field(default_factory=dict)  # roots that joined it

    def current(self) -> Run:
        """Follow merges to the run that stands for this one."""
        run = self
        while run.merged_into is not None:
            run = run.merged_into
        return run

    def ancestors(self) -> set[str]:
        """Return the run ids that this run is a step of, its own included."""
        found: set[str] = set()
        run: Run | None = self.current()
        while run is not None and run.run_id not in found:
            found.add(run.run_id)
            run = run.parent.current() if run.parent else None
        return found

    def top(self) -> Run:
        """Return the outermost run that this one is a step of."""
        run = self.current()
        while run.parent is not None:
            run = run.parent.current()
        return run


def run_identity(boot_uuid: str, root: ProcessRow) -> str:
    """Derive a run's id from its first process: the same rows give the same id again."""
    key = f"{boot_uuid}:{root.tgid}:{root.start_ns}:{root.image}"
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def shim_target(first: Node) -> Node | None:
    """Return what a chain of images ends in when one of them was only a script of its name.

    Version managers put such scripts on PATH: ``python3`` is a shell script that looks around and
    becomes the real python3. None when no image of the chain is one.
    """
    chain = [first]
    while (after := chain[-1].following) is not None and after.run is first.run:
        chain.append(after)
    last = chain.pop()
    if last.role is not Role.PROGRAM:
        return None
    name = base_name(last.row.argv[0]) if last.row.argv else base_name(last.row.exe)
    shims = (operand_of(node.row) for node in chain if is_shell(node.row))
    found = any(shim.kind == "file" and base_name(shim.text) == name for shim in shims)
    return last if found else None


def telling_node(first: Node) -> Node:
    """Return the image that tells what was run: past ``sh -c``, wrappers and container set-up."""
    node = shim_target(first) or first
    while (
        node.following is not None
        and node.following.run is node.run
        and (node.role in (Role.WRAPPER, Role.HOST) or _is_shell_text(node))
    ):
        node = node.following
    return node


def _is_shell_text(node: Node) -> bool:
    return is_shell(node.row) and operand_of(node.row).kind == "text"


def stage_command(first: Node) -> str:
    """Write one stage of a run as a person would type it."""
    if first.forked:
        return "(subshell)"
    node = shim_target(first) or first
    while node.following is not None and node.following.run is node.run:
        if _is_shell_text(node) and not uses_arguments(operand_of(node.row).text):
            break
        if node.role not in (Role.WRAPPER, Role.HOST) and not _is_shell_text(node):
            break
        node = node.following
    return command_of(node.row)


def run_command(run: Run) -> str:
    """Write a run's command; the stages of a pipeline in the order of their start."""
    if run.command is not None:
        return run.command
    return " | ".join(stage_command(node) for node in sorted(run.stages, key=lambda n: n.order))


def run_record(run: Run, host_id: int) -> RunRecord:
    """Write a run down as it stands now."""
    told = telling_node(run.root)
    status, exit_code = run_status(run)
    code = run.code
    environment = told.environment
    named = environment.get if environment is not None else _nothing
    return RunRecord(
        run_id=run.run_id,
        kind=run.kind,
        parent_run_id=run.parent.current().run_id if run.parent else None,
        root_process_id=run.root.row.process_id,
        host_id=host_id,
        command=run_command(run),
        argv=typed_arguments(told.row),
        cwd=told.row.cwd,
        uid=told.row.uid,
        user_name=told.row.user_name,
        started_ns=run.started_ns,
        ended_ns=run.last_ns if status != "running" else None,
        status=status,
        exit_code=exit_code,
        repository=code.repository if code else None,
        git_commit=code.commit if code else None,
        git_branch=code.branch if code else None,
        git_dirty=code.dirty if code else None,
        git_modified=code.modified[:MODIFIED_LIMIT] if code else None,
        project=named("WHENCE_PROJECT") or _project(code),
        request_id=named("WHENCE_REQUEST"),
        complete=(reason := _reason(run)) is None,
        incomplete_reason=reason,
        group_key=run.group_key,
        environment_id=environment.environment_id if environment is not None else None,
        container_id=container_of(told.row),
        principal_kind=run.principal.kind if run.principal else None,
        principal=run.principal.name if run.principal else None,
        acting_for=run.principal.acting_for if run.principal else None,
        claim_id=named("WHENCE_CLAIM"),
        world_size=run.world_size,
        attempts=run.attempts,
        lost_records=(run.known_lost + sum(run.gaps.values())) or None,
        unobserved_ns=run.unobserved_ns or None,
        accounted_bytes=run.accounted_bytes or None,
        seen_bytes=run.seen_bytes if run.accounted_bytes else None,
        lacking_bytes=run.lacking_bytes or None,
    )


def _nothing(_: str) -> None:
    return None


def _project(code: CodeRow | None) -> str | None:
    return code.repository.rstrip("/").rpartition("/")[2] if code else None


def run_status(run: Run) -> tuple[str, int | None]:
    """Return (status, exit code): running until every process ended, then by the first one.

    unknown: nobody saw how the first one ended.
    """
    if run.live:
        return "running", None
    end = run.root_end
    if end is None:
        return "running", None
    if end.exit_code is None:
        return "unknown", None
    ends = [end, *(each for each in run.peers.values() if each is not None)]
    end = next((each for each in ends if each.exit_signal or each.exit_code), end)
    if end.exit_signal:
        return "killed", None
    return ("failed" if end.exit_code else "succeeded"), end.exit_code


def _reason(run: Run) -> str | None:
    reasons = [run.known_reason] if run.known_reason else []
    reasons += [f"{count} records lost: {why}" for why, count in sorted(run.gaps.items())]
    reasons += [why for why in sorted(run.blind) if why not in (run.known_reason or "")]
    if run.snapshot:
        reasons.insert(0, "it was running before capture began")
    reasons += run.unobserved
    if run.lacking_bytes > run.known_lacking:
        reasons.append(
            f"{run.lacking_bytes:,} of {run.accounted_bytes:,} bytes that the kernel accounts to "
            "it were not seen"
        )
    if run.root_end is not None and run.root_end.exit_code is None:
        reasons.append("nobody saw how it ended")
    return "; ".join(reasons) or None
