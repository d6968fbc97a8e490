"""Process rows into runs, step by step: which program belongs to which run.

A pure state machine over the launcher table; it reads no clock and no database.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from whence_collector.blind_spots import BlindSpots
from whence_collector.changes import Changes, Past
from whence_collector.launched_by import principal_of
from whence_collector.launcher_table import STANDARD
from whence_collector.launchers import Role, role_of
from whence_collector.membership import Membership
from whence_collector.peers import Peers
from whence_collector.pipes import Pipes
from whence_collector.placement import (
    Place,
    is_kernel_thread,
    place_program,
    restored_role,
    starts_anew,
)
from whence_collector.resolved import EndRow
from whence_collector.run_losses import RunLosses
from whence_collector.run_state import Environment, Node, Run, RunRecord, Thread, run_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whence_collector.captures import Census
    from whence_collector.launcher_table import LauncherTable
    from whence_collector.resolved import AccountRow, CodeRow, LossRow, ProcessRow, StreamRow

ORIGIN_FORK, ORIGIN_SNAPSHOT = 1, 3  # whence.v1.ProcessOrigin
ENDED_KEPT = 65_536  # programs that ended and may still be named by a late row
EARLY_ENDS_KEPT = 65_536
SESSIONS_NESTED = 16


class RunBook:
    """All runs that can still change.

    boot_uuid and host_id tell, for a boot_id, its kernel boot id and its host.
    """

    def __init__(
        self,
        boot_uuid: Callable[[int], str],
        host_id: Callable[[int], int],
        launchers: LauncherTable = STANDARD,
    ) -> None:
        self._host_id = host_id
        self._launchers = launchers
        self._users: dict[tuple[int, int], str] = {}  # name by (boot_id, uid)
        self._nodes: dict[int, Node] = {}
        self._latest: dict[Thread, Node] = {}
        self._groups: dict[tuple[int, int, int], Run] = {}
        self._members = Membership(boot_uuid)
        self._lossy = RunLosses(self._members, self._nodes)
        self._pipes = Pipes(self._members.merge, self._rehome)
        self._peers = Peers(self._members)
        self._early_ends: OrderedDict[int, EndRow] = OrderedDict()
        self._ended: deque[Node] = deque()
        self.blind_spots = BlindSpots()
        self._environments: OrderedDict[int, Environment] = OrderedDict()
        self._unseen_ends: list[EndRow] = []

    # What comes in ------------------------------------------------------------

    def add(
        self,
        rows: Iterable[ProcessRow],
        ends: Iterable[EndRow] = (),
        streams: Iterable[StreamRow] = (),
    ) -> None:
        """Take in one batch's rows, in any order within the batch."""
        for row in sorted(rows, key=lambda row: (row.at_unix_ns, row.start_ns, row.image)):
            self._add_process(row)
        for end in ends:
            self._add_end(end)
        for stream in streams:
            node = self._nodes.get(stream.process_id)
            if node is not None:
                self._pipes.touch(node, stream)

    def add_environments(self, environments: Mapping[int, Environment]) -> None:
        """Take in environments by process_id, before the programs that they belong to."""
        for process_id, environment in environments.items():
            node = self._nodes.get(process_id)
            if node is None:
                self._environments[process_id] = environment
                continue
            node.own_environment = environment
            if node.run is not None:
                self._members.touch(node, node.run.current())
        while len(self._environments) > EARLY_ENDS_KEPT:
            self._environments.popitem(last=False)

    def add_code(self, rows: Iterable[CodeRow]) -> None:
        """Attach the state of the code: of a run's first process, else the first that came."""
        for row in rows:
            node = self._nodes.get(row.process_id)
            if node is None or node.run is None:
                continue
            run = node.run.current()
            if run.code is None or node.thread == run.root.thread:
                run.code = row
                self._members.touched_runs[run.run_id] = run

    def add_losses(self, rows: Iterable[LossRow]) -> None:
        """Mark the runs that lost something, as narrowly as the rows say."""
        self._lossy.add(rows)

    def add_accounts(self, rows: Iterable[AccountRow]) -> None:
        """Compare what was seen of runs with what the kernel accounts to them."""
        self._lossy.accounts(rows)

    def take_census(self, census: Census) -> None:
        """End what a walk over all tasks does not find, and mark what lived unobserved.

        How those ended nobody saw, and when only within bounds: they lived at the last moment that
        was told.
        """
        gap = census.gap
        if gap is not None:
            self._lossy.unobserved(gap, lambda run: self._host_id(run.boot_id) == census.host_id)
        for node in list(self._latest.values()):
            row = node.row
            if node.end is not None or self._host_id(row.boot_id) != census.host_id:
                continue
            if row.boot_id == census.boot_id and (
                node.thread[1:] in census.alive or row.start_ns >= census.at_boot_ns
            ):
                continue
            known_ns = node.run.current().last_ns if node.run is not None else row.at_unix_ns
            at_ns = max(known_ns, gap.from_ns if gap is not None else 0)
            end = EndRow(row.process_id, at_ns, None, None, replaced=False)
            self._unseen_ends.append(end)
            self._add_end(end)

    def run_of(self, process_id: int) -> str | None:
        """Return the run_id of a program that is still remembered."""
        node = self._nodes.get(process_id)
        return node.run.current().run_id if node is not None and node.run is not None else None

    # What goes out ------------------------------------------------------------

    def drain(self) -> Changes:
        """Return what changed since the last call, and forget what ended long ago."""
        streams = self._pipes.drain()
        self.blind_spots.mark(self._nodes, self._members)
        assigned, moved = self._drain_nodes()
        dropped = tuple(
            (run.run_id, run.current().run_id)
            for run in self._members.dropped.values()
            if run.stored is not None
        )
        records, known = self._drain_runs()
        closed = self._members.close(records)
        self._members.dropped.clear()
        self._retire()
        ends, self._unseen_ends = tuple(self._unseen_ends), []
        return Changes(assigned, moved, records, known, dropped, streams, closed, ends)

    def _drain_nodes(self) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str, str], ...]]:
        assigned, moved = [], []
        for process_id, node in self._members.touched_nodes.items():
            run_id = node.run.current().run_id if node.run is not None else None
            if run_id is None or run_id == node.stored_run_id:
                continue
            if node.stored_run_id is None:
                assigned.append((process_id, run_id))
            else:
                moved.append((process_id, node.stored_run_id, run_id))
            node.stored_run_id = run_id
        self._members.touched_nodes.clear()
        return tuple(assigned), tuple(moved)

    def _drain_runs(self) -> tuple[tuple[RunRecord, ...], tuple[str, ...]]:
        records, known = [], []
        for run in self._members.touched_runs.values():
            if run.stored is None or run.principal is None:
                run.principal = principal_of(run.root, self._launchers, self._users)
            record = run_record(run, self._host_id(run.boot_id))
            if record != run.stored:
                if run.stored is not None:
                    known.append(run.run_id)
                run.stored = record
                records.append(record)
        self._members.touched_runs.clear()
        return tuple(records), tuple(known)

    def _retire(self) -> None:
        while len(self._ended) > ENDED_KEPT:
            node = self._ended.popleft()
            self._nodes.pop(node.row.process_id, None)
            if self._latest.get(node.thread) is node:
                del self._latest[node.thread]
            run = node.run.current() if node.run is not None else None
            if run is not None:
                run.members.pop(node.row.process_id, None)
                if not run.members and not run.live:
                    self._members.open.pop(run.run_id, None)
                    if run.group is not None and self._groups.get(run.group) is run:
                        del self._groups[run.group]

    # Programs -----------------------------------------------------------------

    def _add_process(self, row: ProcessRow) -> None:
        node = self._nodes.get(row.process_id)
        if node is None:
            node = Node(row, Role.PROGRAM)
            node.own_environment = self._environments.pop(row.process_id, None)
            self._link(node)
        elif row.origin == ORIGIN_FORK and not node.forked:
            return  # the exec's description came first and says more
        elif row.origin == ORIGIN_SNAPSHOT:
            return  # found again by a new capture
        if row.user_name is not None:
            self._users[row.boot_id, row.uid] = row.user_name
        node.row = row
        node.forked = row.origin == ORIGIN_FORK
        node.snapshot = row.origin == ORIGIN_SNAPSHOT
        self._place(node)
        early = self._early_ends.pop(row.process_id, None)
        if early is not None:
            self._add_end(early)
        self._lossy.placed(node)

    def _link(self, node: Node) -> None:
        row = node.row
        self._nodes[row.process_id] = node
        node.parent = self._nodes.get(row.parent_process_id or 0)
        latest = self._latest.get(node.thread)
        if latest is None or latest.row.image < row.image:
            self._latest[node.thread] = node
            if latest is not None:
                node.previous, latest.following = latest, node
                node.parent = node.parent or latest.parent

    def _add_end(self, end: EndRow) -> None:
        node = self._nodes.get(end.process_id)
        if node is None:
            self._early_ends[end.process_id] = end
            if len(self._early_ends) > EARLY_ENDS_KEPT:
                self._early_ends.popitem(last=False)
            return
        node.end = end
        self._ended.append(node)
        if node.run is None:
            return
        run = node.run.current()
        run.last_ns = max(run.last_ns, end.at_unix_ns)
        self._members.touched_runs[run.run_id] = run
        if not end.replaced:
            run.live.discard(node.thread)
            if node.thread == run.root.thread:
                run.root_end = end
            elif node.thread in run.peers:
                run.peers[node.thread] = end

    def sessions_above(self, process_id: int, roles: tuple[Role, ...]) -> list[int]:
        """Return the programs of given roles that a program was started below, nearest first."""
        found: list[int] = []
        node = self._nodes.get(process_id)
        while node is not None and len(found) < SESSIONS_NESTED:
            node = node.parent
            if node is not None and node.role in roles:
                found.append(node.row.process_id)
        return found

    # Placement ----------------------------------------------------------------

    def _place(self, node: Node) -> None:
        self._settle_place(node)
        if not node.forked:
            self._peers.placed(node)

    def _settle_place(self, node: Node) -> None:
        node.pending = False
        node.role = role_of(node.row, self._launchers)
        before = node.previous
        if before is not None and before.run is not None and not starts_anew(node, before):
            node.role = Role.CANARY if before.role is Role.CANARY else node.role
            node.snapshot = before.snapshot
            self._members.join(node, before.run, None)
            if node.role is Role.PROGRAM:
                self._members.absorb_shim(node)
        elif node.forked and node.parent is not None:
            self._place_fork(node, node.parent)
        elif not is_kernel_thread(node):
            self._place_program(node, before or node.parent)

    def _place_fork(self, node: Node, parent: Node) -> None:
        node.role = parent.role
        node.snapshot = parent.snapshot
        if parent.role is Role.INTERACTIVE:
            node.role, node.pending = Role.SCRIPT, True
        elif parent.pending:
            self._settle(parent, node)
        if parent.run is not None:
            self._members.join(node, parent.run, parent.scope)

    def _settle(self, subshell: Node, child: Node) -> None:
        """A subshell of an interactive shell shows its process group by its first child."""
        subshell.pending = False
        if subshell.parent is not None:
            self._place_in_group(subshell, subshell.parent, child.row.process_group, "job")

    def _place_program(self, node: Node, above: Node | None) -> None:
        if above is not None and above.pending:
            self._settle(above, node)
        verdict = place_program(node, above)
        node.role = verdict.role
        group = self._peers.beginning(node, above)
        if group is not None:
            self._begin(node, group.kind, self._peers.run_of(group.above))
            return
        scope = (above.scope or above.run) if above is not None else None
        if verdict.place is Place.RUN or above is None or above.run is None:
            self._begin(node, verdict.kind, None)
        elif verdict.place is Place.GROUP:
            self._place_in_group(node, above, node.row.process_group, verdict.kind)
        elif verdict.place is Place.STEP:
            self._begin(node, verdict.kind, scope.current() if scope is not None else None)
        else:
            self._members.join(node, above.run, None)

    def _place_in_group(self, node: Node, shell: Node, process_group: int, kind: str) -> None:
        """Join the job of (shell, session, process group); the shell's own group is no job."""
        key = (shell.row.process_id, node.row.session, process_group)
        known = self._groups.get(key)
        run = known.current() if known is not None else None
        own = node.run.current() if node.run is not None else None
        if process_group == shell.row.process_group:
            self._begin(node, kind, None)
        elif run is not None and run.root is not node and (run.live or own is run):
            self._members.join(node, run, run)
            if node not in run.stages:
                run.stages.append(node)
        else:
            begun = self._begin(node, kind, None)
            begun.group = key
            self._groups[key] = begun

    def _begin(self, node: Node, kind: str, parent: Run | None) -> Run:
        run = self._members.begin(node, kind, parent)
        self._lossy.begun(run)
        return run

    def _rehome(self, node: Node, run: Run) -> None:
        """Move a forked subshell into the step whose pipe it shares; its steps stay as they are."""
        self._members.join(node, run, node.scope)

    # After a restart ----------------------------------------------------------

    def restore(self, past: Past) -> None:
        """Put back what was still running, as it was placed; nothing is decided again."""
        runs: dict[str, Run] = {}
        for row in sorted(past.processes, key=lambda row: (row.at_unix_ns, row.start_ns)):
            node = Node(row, role_of(row, self._launchers))
            self._link(node)
            node.forked = row.origin == ORIGIN_FORK
            node.snapshot = row.origin == ORIGIN_SNAPSHOT
            node.end = past.ends.get(row.process_id)
            node.role = restored_role(node)
            node.stored_run_id = past.run_of.get(row.process_id)
            node.own_environment = past.environments.get(row.process_id)
        for record in past.runs:
            root = self._nodes.get(record.root_process_id)
            if root is not None:
                runs[record.run_id] = self._members.restore(record, root)
                self._peers.restore(runs[record.run_id])
        for record in past.runs:
            if record.run_id in runs and record.parent_run_id in runs:
                runs[record.run_id].parent = runs[record.parent_run_id]
        for node in self._nodes.values():
            self._restore_member(node, runs.get(node.stored_run_id or ""))

    def _restore_member(self, node: Node, run: Run | None) -> None:
        if run is None:
            return
        node.run = run
        inherits = node.forked and node.parent is not None and node.role is Role.SCRIPT
        node.scope = node.parent.scope if inherits and node.parent is not None else run
        node.scope = node.scope or run
        run.members[node.row.process_id] = node
        if node.end is None:
            run.live.add(node.thread)
        elif node.thread == run.root.thread and not node.end.replaced:
            run.root_end = node.end
        above = run.root.parent
        if node is run.root and above is not None and above.role is Role.INTERACTIVE:
            run.group = (above.row.process_id, node.row.session, node.row.process_group)
            self._groups[run.group] = run
