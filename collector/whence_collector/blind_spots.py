"""Runs whose programs took a way that capture could not follow. State in memory, no SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whence_collector.membership import Membership
    from whence_collector.resolved import BlindRow
    from whence_collector.run_state import Node


class BlindSpots:
    """Blind spots whose program has no place yet wait for it."""

    def __init__(self) -> None:
        self._waiting: list[BlindRow] = []

    def add(self, rows: Iterable[BlindRow]) -> None:
        """Take in one batch's rows."""
        self._waiting += rows

    def mark(self, nodes: Mapping[int, Node], members: Membership) -> None:
        """Tell the runs of the programs; one that is retired is marked where it is stored."""
        waiting, self._waiting = self._waiting, []
        for row in waiting:
            node = nodes.get(row.process_id)
            if node is not None and node.run is None:
                self._waiting.append(row)
            elif node is not None and node.run is not None:
                run = node.run.current()
                run.blind.add(row.reason)
                members.touched_runs[run.run_id] = run
