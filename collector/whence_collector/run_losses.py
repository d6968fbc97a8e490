"""What makes runs incomplete: records that were lost, and times that nobody observed.

A loss with a process's name on it marks that run alone; one without marks every run of its boot
that overlaps the interval. Pure.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whence_collector.captures import Gap
    from whence_collector.membership import Membership
    from whence_collector.resolved import AccountRow, LossRow
    from whence_collector.run_state import Node, Run

EARLY_KEPT = 65_536
LOSSES_KEPT = 256


class RunLosses:
    """Marks runs; remembers losses whose run is not there yet."""

    def __init__(self, members: Membership, nodes: Mapping[int, Node]) -> None:
        self._members, self._nodes = members, nodes
        self._losses: deque[LossRow] = deque(maxlen=LOSSES_KEPT)
        self._early: OrderedDict[int, list[LossRow]] = OrderedDict()

    def add(self, rows: Iterable[LossRow]) -> None:
        """Take in losses of a batch."""
        for row in rows:
            if row.lost > 0 and row.process_id is not None:
                self._add_named(row.process_id, row)
            elif row.lost > 0:
                self._losses.append(row)
                for run in self._members.open.values():
                    self._mark(run, row)

    def accounts(self, rows: Iterable[AccountRow]) -> None:
        """Add what the kernel accounts to processes of runs, and what was seen of it."""
        for row in rows:
            node = self._nodes.get(row.process_id)
            if node is None or node.run is None:
                continue
            run = node.run.current()
            run.accounted_bytes += row.bytes
            run.seen_bytes += row.seen_bytes
            run.lacking_bytes += row.lacking_bytes
            self._members.touched_runs[run.run_id] = run

    def begun(self, run: Run) -> None:
        """A run that is told of only now may have lived in an interval of before."""
        if run.stored is None and not run.gaps:
            for row in self._losses:
                self._mark(run, row)

    def placed(self, node: Node) -> None:
        """A program that is told of only now may have lost records before."""
        for row in self._early.pop(node.row.process_id, ()):
            if node.run is not None:
                self._note(node.run.current(), row)

    def unobserved(self, gap: Gap, is_of_host: Callable[[Run], bool]) -> None:
        """Mark every run of a host that lived in a time which nobody observed."""
        for run in self._members.open.values():
            if is_of_host(run) and _overlaps(run, gap.from_ns, gap.until_ns):
                run.unobserved.append(gap.sentence)
                run.unobserved_ns += gap.until_ns - max(run.started_ns, gap.from_ns)
                self._members.touched_runs[run.run_id] = run

    def _add_named(self, process_id: int, row: LossRow) -> None:
        node = self._nodes.get(process_id)
        if node is not None and node.run is not None:
            self._note(node.run.current(), row)
            return
        self._early.setdefault(process_id, []).append(row)
        if len(self._early) > EARLY_KEPT:
            self._early.popitem(last=False)

    def _mark(self, run: Run, row: LossRow) -> None:
        if run.boot_id == row.boot_id and _overlaps(run, row.from_unix_ns, row.until_unix_ns):
            self._note(run, row)

    def _note(self, run: Run, row: LossRow) -> None:
        why = row.reason or f"records of class {row.record_class}"
        run.gaps[why] = run.gaps.get(why, 0) + row.lost
        self._members.touched_runs[run.run_id] = run


def _overlaps(run: Run, from_ns: int, until_ns: int) -> bool:
    running = bool(run.live) or run.root_end is None
    return run.started_ns <= until_ns and (running or run.last_ns >= from_ns)
