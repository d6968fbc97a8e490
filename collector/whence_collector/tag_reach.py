"""Which runs the tags of a session reach: those that a tagged shell, agent or terminal begins.

Part of deriving: one set look-up a new run while nothing is tagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.launchers import Role

if TYPE_CHECKING:
    from whence_collector.changes import Changes
    from whence_collector.resolved import TagRow
    from whence_collector.runs import RunBook
    from whence_collector.store import Writer

SESSIONS = (Role.HOST, Role.INTERACTIVE)
TAGGED = "SELECT DISTINCT process_id FROM tag WHERE subject_kind = 'process'"


class TagReach:
    """The tagged processes; follow() is given each batch after its runs were derived."""

    def __init__(self, writer: Writer) -> None:
        self._tagged = {process_id for (process_id,) in writer.rows(TAGGED)}

    def follow(
        self, tags: tuple[TagRow, ...], changes: Changes, book: RunBook, writer: Writer
    ) -> None:
        """Note the runs that began below tagged sessions, then take in new tags."""
        if self._tagged:
            known = set(changes.known_runs)
            reached = [
                (process_id, run.run_id)
                for run in changes.runs
                if run.run_id not in known
                for process_id in book.sessions_above(run.root_process_id, SESSIONS)
                if process_id in self._tagged
            ]
            if reached:
                writer.append(
                    "tag_reach",
                    {
                        "process_id": [process_id for process_id, _ in reached],
                        "run_id": [run_id for _, run_id in reached],
                    },
                )
        self._tagged.update(tag.process_id for tag in tags)
