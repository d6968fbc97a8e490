"""Who belongs to which run: beginning, joining, leaving and merging of runs.

Bookkeeping only; which of these happens is decided in runs.py and placement.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.command_line import operand_of
from whence_collector.launched_by import Principal
from whence_collector.placement import KIND_OF_ROLE
from whence_collector.resolved import CodeRow
from whence_collector.run_state import Node, Run, RunRecord, run_identity, shim_target

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Closed:
    """A run that ended, and so did the outermost run that it is a step of, at until_ns."""

    run_id: str
    boot_id: int
    started_ns: int
    until_ns: int


class Membership:
    """The runs that can still change, and what of them is not written down yet."""

    def __init__(self, boot_uuid: Callable[[int], str]) -> None:
        self._boot_uuid = boot_uuid
        self.open: dict[str, Run] = {}
        self.families: dict[str, set[str]] = {}  # outermost run -> runs not yet closed under it
        self.touched_nodes: dict[int, Node] = {}
        self.touched_runs: dict[str, Run] = {}
        self.dropped: dict[str, Run] = {}

    def begin(self, node: Node, kind: str, parent: Run | None) -> Run:
        """Make a program the first of a run; one that already is stays what it is."""
        run_id = run_identity(self._boot_uuid(node.row.boot_id), node.row)
        run = self.open.get(run_id)
        if run is None:
            run = Run(run_id, node.row.boot_id, kind, node, parent, node.row.at_unix_ns)
            run.stages.append(node)
            self.open[run_id] = run
        run.kind, run.parent = kind, parent
        run.started_ns = min(run.started_ns, node.row.at_unix_ns)
        run.snapshot = node.snapshot
        self.join(node, run, None)
        return run

    def join(self, node: Node, run: Run, scope: Run | None) -> None:
        """Make a program a member; steps below it belong to scope, else to the run."""
        run = run.current()
        self._leave(node, run)
        node.run = run
        node.scope = scope or run
        run.members[node.row.process_id] = node
        if node.end is None or node.end.replaced:
            run.live.add(node.thread)
        if node.previous is not None and node.previous is run.root:
            _retell(run, node)
        run.last_ns = max(run.last_ns, node.row.at_unix_ns)
        self.touch(node, run)

    def restore(self, record: RunRecord, root: Node) -> Run:
        """Put a stored run back; its members, its parent and its group are linked by the caller."""
        run = Run(record.run_id, root.row.boot_id, record.kind, root, None, record.started_ns)
        run.command = record.command
        run.last_ns = record.ended_ns or record.started_ns
        run.known_reason = record.incomplete_reason
        run.known_lost = record.lost_records or 0
        run.unobserved_ns = record.unobserved_ns or 0
        run.accounted_bytes = record.accounted_bytes or 0
        run.seen_bytes = record.seen_bytes or 0
        run.lacking_bytes = run.known_lacking = record.lacking_bytes or 0
        run.code = _stored_code(record)
        run.group_key, run.world_size = record.group_key, record.world_size
        run.attempts = record.attempts
        if record.principal_kind is not None:
            run.principal = Principal(record.principal_kind, record.principal, record.acting_for)
        run.stored = record
        run.stages.append(root)
        self.open[record.run_id] = run
        if record.status == "running":
            self.families.setdefault(record.run_id, set()).add(record.run_id)
        return run

    def touch(self, node: Node, run: Run) -> None:
        """Remember that both have to be written down."""
        self.touched_nodes[node.row.process_id] = node
        self.touched_runs[run.run_id] = run

    def merge(self, one: Run, other: Run, *, peers: bool = False) -> Run:
        """Make two runs one: the earlier takes in the later and is returned.

        peers are ranks or hosts of one run, not stages of a pipeline.
        """
        one, other = one.current(), other.current()
        if one is other:
            return one
        if other in _line(one):
            winner, loser = other, one
        else:
            winner, loser = sorted((one, other), key=_age)
        if peers:
            winner.peers |= {loser.root.thread: loser.root_end} | loser.peers
        else:
            winner.stages.extend(loser.stages)
        winner.live |= loser.live
        winner.last_ns = max(winner.last_ns, loser.last_ns)
        winner.code = winner.code or loser.code
        _take_gaps(winner, loser)
        for node in loser.members.values():
            node.run = winner
            winner.members[node.row.process_id] = node
            self.touch(node, winner)
        loser.members = {}
        self._forget(loser, winner)
        return winner

    def absorb_shim(self, node: Node) -> None:
        """Take in the steps that a shim began on its way to the program that it became."""
        first = node
        while first.previous is not None and first.previous.run is node.run:
            first = first.previous
        run = node.run.current() if node.run is not None else None
        if run is None or shim_target(first) is not node:
            return
        stages = list(run.stages)
        for step in [each for each in self.open.values() if _began(each, run, node)]:
            self.merge(step, run)
        run.stages = stages
        if run.root.thread == node.thread and run.kind == "script":
            run.kind = "step" if run.parent else KIND_OF_ROLE.get(node.role, "job")
        self.touch(node, run)

    def close(self, records: tuple[RunRecord, ...]) -> tuple[Closed, ...]:
        """Return the runs whose names stand: they ended, and so did the outermost run."""
        families = self.families
        tops: dict[str, Run] = {}
        for record in records:
            run = self.open.get(record.run_id)
            if run is not None:
                top = run.top()
                families.setdefault(top.run_id, set()).add(run.run_id)
                tops[top.run_id] = top
        closed: list[Closed] = []
        for top in tops.values():
            if not _is_running(top):
                closed += self._close_family(top)
        return tuple(closed)

    def _close_family(self, top: Run) -> list[Closed]:
        closed: list[Closed] = []
        family = self.families.pop(top.run_id)
        for run_id in list(family):
            run = self.open.get(run_id)
            if run is None or not _is_running(run):
                family.discard(run_id)
            if run is not None and not _is_running(run):
                until_ns = max(top.last_ns, run.last_ns)
                closed.append(Closed(run_id, run.boot_id, run.started_ns, until_ns))
        if family:
            self.families[top.run_id] = family
        return closed

    def _leave(self, node: Node, to: Run) -> None:
        before = node.previous.run.current() if node.previous and node.previous.run else None
        if before is not None and before is not to:
            before.live.discard(node.thread)
            if node.thread == before.root.thread and node.previous is not None:
                before.root_end = node.previous.end
            self.touched_runs[before.run_id] = before
        old = node.run.current() if node.run is not None else None
        if old is None or old is to:
            return
        old.members.pop(node.row.process_id, None)
        old.live.discard(node.thread)
        if node in old.stages and old.root is not node:
            old.stages.remove(node)
        self.touched_runs[old.run_id] = old
        if not old.members:
            self._forget(old, to)

    def _forget(self, run: Run, into: Run) -> None:
        run.merged_into = into
        into.blind |= run.blind
        self.open.pop(run.run_id, None)
        self.touched_runs.pop(run.run_id, None)
        self.dropped[run.run_id] = run


def _stored_code(record: RunRecord) -> CodeRow | None:
    if record.repository is None:
        return None
    return CodeRow(
        process_id=record.root_process_id,
        repository=record.repository,
        commit=record.git_commit,
        branch=record.git_branch,
        remote=None,
        dirty=bool(record.git_dirty),
        modified=record.git_modified or (),
        at_unix_ns=record.started_ns,
    )


def _age(run: Run) -> tuple[int, tuple[int, int, int]]:
    """Order of beginning; boot clocks of different hosts say nothing of each other."""
    return (run.started_ns, run.root.order)


def _is_running(run: Run) -> bool:
    return run.stored is None or run.stored.status == "running"


def _began(step: Run, run: Run, node: Node) -> bool:
    """Whether a step, or one that it is a step of, was begun under ``run`` by node's thread."""
    while step.parent is not None:
        above = step.parent.current()
        if above is run:
            starter = step.root.parent
            return starter is not None and node.thread in (starter.thread, _forker(starter))
        step = above
    return False


def _forker(node: Node) -> tuple[int, int, int] | None:
    """Life of the process that forked this subshell, through other subshells."""
    while node.forked and node.parent is not None:
        node = node.parent
    return node.thread


def _line(run: Run) -> list[Run]:
    """Return the runs above a step, nearest first."""
    found: list[Run] = []
    above = run.parent
    while above is not None:
        above = above.current()
        found.append(above)
        above = above.parent
    return found


def _take_gaps(winner: Run, loser: Run) -> None:
    """What one run lacks, the run that takes it in lacks; an interval counts once."""
    for why, count in loser.gaps.items():
        winner.gaps[why] = max(winner.gaps.get(why, 0), count)
    winner.unobserved += [each for each in loser.unobserved if each not in winner.unobserved]
    winner.unobserved_ns = max(winner.unobserved_ns, loser.unobserved_ns)
    winner.known_reason = winner.known_reason or loser.known_reason
    winner.known_lost = max(winner.known_lost, loser.known_lost)
    winner.accounted_bytes += loser.accounted_bytes
    winner.seen_bytes += loser.seen_bytes
    winner.lacking_bytes += loser.lacking_bytes


def _retell(run: Run, node: Node) -> None:
    """``sh -c`` that became its last command is what that command makes it."""
    if run.kind == "script" and operand_of(run.root.row).kind == "text":
        run.kind = "step" if run.parent else KIND_OF_ROLE.get(node.role, "job")
