"""What a book of runs is given after a restart, and what it gives out. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whence_collector.membership import Closed
    from whence_collector.pipes import StreamEdge
    from whence_collector.resolved import EndRow, ProcessRow
    from whence_collector.run_state import Environment, RunRecord


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since the last drain, merges applied."""

    assigned: tuple[tuple[int, str], ...]  # (process_id, its first run_id)
    moved: tuple[tuple[int, str, str], ...]  # (process_id, run_id before, run_id now)
    runs: tuple[RunRecord, ...]  # new or changed
    known_runs: tuple[str, ...]  # those of them that are stored already
    dropped: tuple[tuple[str, str], ...]  # (run_id that is gone, run_id that took it in)
    streams: tuple[StreamEdge, ...]
    closed: tuple[Closed, ...]
    unseen_ends: tuple[EndRow, ...]  # of programs that are gone; nobody saw how


@dataclass(frozen=True, slots=True)
class Past:
    """What the tables tell of programs and runs that still matter after a restart."""

    processes: tuple[ProcessRow, ...]
    ends: dict[int, EndRow]
    run_of: dict[int, str]
    runs: tuple[RunRecord, ...]  # with all that they are steps of
    environments: dict[int, Environment] = field(default_factory=dict)  # by process_id
