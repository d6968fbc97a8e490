"""A RunBook that is fed by a made-up host, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.traced import Host

from whence_collector.run_state import Environment
from whence_collector.runs import RunBook

if TYPE_CHECKING:
    from whence_collector.changes import Changes
    from whence_collector.resolved import ProcessRow
    from whence_collector.run_state import RunRecord


class Observed:
    """A RunBook fed by a Host, and what came out of it so far."""

    def __init__(self) -> None:
        self.host = Host()
        self.book = RunBook(lambda boot_id: f"boot-{boot_id}", lambda _: 1)
        self.runs: dict[str, RunRecord] = {}
        self.run_of: dict[int, str] = {}
        self.closed: list[str] = []
        self.streams: set[tuple[str, str]] = set()

    def deliver(self) -> Changes:
        """Feed everything since the last call."""
        batch = self.host.batch()
        self.book.add_environments(
            {
                row.process_id: Environment(number, dict(row.variables))
                for number, row in enumerate(batch.recipe.environments, 1)
            }
        )
        self.book.add(batch.processes, batch.ends, batch.streams)
        self.book.add_code(batch.code_states)
        self.book.add_losses(batch.losses)
        changes = self.book.drain()
        self.run_of.update(changes.assigned)
        self.run_of.update((process_id, new) for process_id, _, new in changes.moved)
        self.runs.update((record.run_id, record) for record in changes.runs)
        for run_id, _ in changes.dropped:
            del self.runs[run_id]
        self.closed += [self.runs[each.run_id].command for each in changes.closed]
        self.streams |= {(each.child.run_id, each.parent.run_id) for each in changes.streams}
        return changes

    def run(self, process: ProcessRow) -> RunRecord:
        """Return the run of a process."""
        return self.runs[self.run_of[process.process_id]]

    def tree(self) -> set[tuple[str, str, str | None]]:
        """Return (kind, command, command of the run that it is a step of), sessions left out."""
        return {
            (
                run.kind,
                run.command,
                self.runs[run.parent_run_id].command if run.parent_run_id else None,
            )
            for run in self.runs.values()
            if run.kind != "session"
        }


def terminal(host: Host) -> ProcessRow:
    """A shell that somebody types into."""
    sshd = host.found(None, "sshd", exe="/usr/sbin/sshd", cgroup="/system.slice/ssh.service")
    return host.spawn(
        sshd, "-bash", exe="/usr/bin/bash", terminal=34816, cgroup="/user.slice/session-1.scope"
    )


def typed(host: Host, shell: ProcessRow, *argv: str, **changes: Any) -> ProcessRow:
    """A command typed into an interactive shell: a process group of its own."""
    forked = host.fork(shell)
    changes.setdefault("process_group", forked.tgid)
    return host.exec(forked, *argv, **changes)
