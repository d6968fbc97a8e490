"""Runs that are one because their programs share a group: ranks, hosts, restarts.

Bookkeeping of keys; what a group is stands in groups.py, merging is done by membership.py.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from whence_collector.command_line import base_name
from whence_collector.groups import group_of
from whence_collector.launchers import Role

if TYPE_CHECKING:
    from whence_collector.groups import Group
    from whence_collector.membership import Membership
    from whence_collector.run_state import Node, Run

KEYS_KEPT = 65_536
_UNGROUPED = frozenset({Role.HOST, Role.CANARY, Role.INTERACTIVE})


class Peers:
    """The run of each group key that was seen lately."""

    def __init__(self, members: Membership) -> None:
        self._members = members
        self._by_key: OrderedDict[str, Run] = OrderedDict()

    def beginning(self, node: Node, above: Node | None) -> Group | None:
        """Return the group whose run a program begins, None where it begins none by its group."""
        group = group_of(node)
        if group is None or not group.begins or node.role in _UNGROUPED:
            return None
        if above is None or above.run is None:
            return group
        if group.kind == "ray":  # a cluster that a driver started for itself is part of the driver
            root = above.run.current().root
            return group if base_name(root.row.exe) == "raylet" else None
        other = group_of(above)
        return group if other is None or other.key != group.key else None

    def run_of(self, key: str | None) -> Run | None:
        """Return the run of a key."""
        found = self._by_key.get(key) if key is not None else None
        return found.current() if found is not None else None

    def placed(self, node: Node) -> None:
        """A program has its place: note its group, and make one of runs that share it."""
        group = group_of(node) if node.role not in _UNGROUPED and node.run is not None else None
        if group is None or node.run is None:
            return
        run = node.run.current()
        known = self.run_of(group.key)
        if known is not None and known is not run and known.run_id in run.ancestors():
            return  # a step of the group's own run
        if known is not None and known is not run and _is_near(known, run, group):
            run = self._members.merge(known, run, peers=True)
        self._note(run, group)
        self._by_key[group.key] = run
        self._by_key.move_to_end(group.key)
        while len(self._by_key) > KEYS_KEPT:
            self._by_key.popitem(last=False)

    def restore(self, run: Run) -> None:
        """Take in a run from before a restart."""
        if run.group_key is not None:
            self._by_key[run.group_key] = run

    def _note(self, run: Run, group: Group) -> None:
        before = (run.group_key, run.world_size, run.attempts)
        run.group_key = run.group_key or group.key
        if group.world_size is not None:
            run.world_size = max(run.world_size or 0, group.world_size)
            run.attempts = max(run.attempts or 1, group.attempt + 1)
        elif group.attempt:
            run.attempts = max(run.attempts or 1, group.attempt + 1)
        if (run.group_key, run.world_size, run.attempts) != before:
            self._members.touched_runs[run.run_id] = run


def _is_near(one: Run, other: Run, group: Group) -> bool:
    """Tell whether two runs of one key are one: they overlap, or nearly do."""
    if other.run_id in one.ancestors():
        return False
    earlier, later = sorted((one, other), key=lambda run: run.started_ns)
    return bool(earlier.live) or later.started_ns <= earlier.last_ns + group.near_ns
