"""Statements of programs about themselves → rows. Decides who may speak of whom.

Owns no thread: the capture loop calls it. A program's own words may come before the record of its
exec: they wait a moment for it.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from whenced.job_words import Statement, Unclear, parse
from whenced.redact import redact_arguments
from whenced.rows import MetricRow, TagRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whenced.job_socket import Heard
    from whenced.processes import Processes
    from whenced.rows import ProcessKey, StartRow

TAKEN_AT_ONCE: Final = 200
WAIT_NS: Final = 2_000_000_000
WAITING_MOST: Final = 10_000
# A user who floods is heard this often; the capture of everybody's work comes first.
RATE: Final = 2_000
_SECOND_NS: Final = 1_000_000_000
# Keys whose tags go with what is made from the data, whoever asks for it or not.
HEREDITARY: Final = frozenset({"license", "pii", "test-set"})


class Ear(Protocol):
    """Where statements come from (job_socket.JobSocket)."""

    def fileno(self) -> int:
        """Descriptor that is readable when somebody spoke."""

    def receive(self, most: int) -> Iterable[Heard]:
        """Give at most that many datagrams that have come."""

    def answer(self, address: bytes | str, text: str) -> None:
        """Tell a sender."""


class _Refused(Exception):  # noqa: N818 - an outcome that the sender is told
    """A statement that its sender may not make."""


class JobDesk:
    """Takes statements while the loop steps; take_rows() gives what they became."""

    def __init__(self, ear: Ear, processes: Processes) -> None:
        self._ear, self._processes = ear, processes
        self._waiting: deque[tuple[int, Heard, Statement]] = deque()
        self._rows: list[TagRow | MetricRow] = []
        self._spoken: dict[int, int] = {}
        self._second = 0
        self._heard_ns = 0
        self.refused = 0  # unclear, not allowed, too many, or of no process that is observed

    def fileno(self) -> int:
        """Descriptor that is readable when somebody spoke."""
        return self._ear.fileno()

    @property
    def waiting(self) -> int:
        """Rows that take_rows() would give."""
        return len(self._rows)

    def rows_since(self, waiting: int) -> list[TagRow | MetricRow]:
        """Rows that came after there were so many."""
        return self._rows[waiting:]

    def put_back(self, rows: Iterable[TagRow | MetricRow]) -> None:
        """Take rows that a process which is gone had made."""
        self._rows += rows

    def take_rows(self) -> list[TagRow | MetricRow]:
        """Return the rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def take(self, now_ns: int) -> bool:
        """Hear what was said; True when rows came of it. now_ns is boot time."""
        before = len(self._rows)
        for _ in range(len(self._waiting)):
            self._try(*self._waiting.popleft(), now_ns)
        for heard in self._ear.receive(TAKEN_AT_ONCE):
            self._hear(heard, now_ns)
        return len(self._rows) > before

    def _hear(self, heard: Heard, now_ns: int) -> None:
        if now_ns // _SECOND_NS != self._second:
            self._second, self._spoken = now_ns // _SECOND_NS, {}
        spoken = self._spoken[heard.uid] = self._spoken.get(heard.uid, 0) + 1
        if spoken > RATE:
            self.refused += 1
            return
        try:
            statement = parse(heard.text)
        except Unclear as error:
            self._refuse(heard, str(error), answered=True)
            return
        # Two statements of one moment keep their order: the later one stands.
        self._heard_ns = max(now_ns, self._heard_ns + 1)
        self._try(self._heard_ns, heard, statement, now_ns)

    def _try(self, since_ns: int, heard: Heard, statement: Statement, now_ns: int) -> None:
        answered = "answer" in statement.flags
        try:
            row = self._target(heard, statement)
            if row is not None:
                self._write(row.process, heard, statement, since_ns)
        except (_Refused, Unclear) as error:
            self._refuse(heard, str(error), answered=answered)
            return
        if row is None and now_ns - since_ns < WAIT_NS and len(self._waiting) < WAITING_MOST:
            self._waiting.append((since_ns, heard, statement))
        elif row is None:
            self._refuse(heard, "no such process is observed by this daemon", answered=answered)
        elif answered and heard.address:
            words = " ".join(row.arguments) or row.exe or "?"
            self._ear.answer(heard.address, json.dumps({"ok": True, "process": words}))

    def _refuse(self, heard: Heard, why: str, *, answered: bool) -> None:
        self.refused += 1
        if answered and heard.address:
            self._ear.answer(heard.address, json.dumps({"ok": False, "error": why}))

    def _target(self, heard: Heard, statement: Statement) -> StartRow | None:
        """The program that is spoken of; None while it is not known. Raises _Refused."""
        if heard.pid <= 0:
            raise _Refused("the sender is not visible from this daemon's pid namespace")
        sender = self._processes.newest(heard.pid)
        if statement.target == "self" or sender is None:
            return sender
        if statement.target == "parent":
            found = self._processes.newest_of(sender.parent) if sender.parent else None
        else:
            found = self._processes.newest(int(statement.target))
        if found is None:
            return None
        if heard.uid not in (0, found.uid):
            raise _Refused(
                f"process {found.process.tgid} belongs to another user: its user or root may tag it"
            )
        if statement.target.isdigit() and sender.pid_namespace != found.pid_namespace:
            raise _Refused("process ids of another pid namespace mean something else here")
        return found

    def _write(self, process: ProcessKey, heard: Heard, said: Statement, at_ns: int) -> None:
        if said.verb == "metric":
            self._rows += [
                MetricRow(process, name, value, said.step, at_ns) for name, value in said.numbers()
            ]
            return
        user = self._processes.user(heard.uid)
        for key, value in said.pairs:
            if "/" in key:
                raise Unclear(f"{key!r} is no key of a tag: leave out '/'")
            self._rows.append(
                TagRow(
                    process,
                    key,
                    redact_arguments((value,))[0] or None,
                    "remove" in said.flags,
                    "inherit" in said.flags or key in HEREDITARY,
                    heard.uid,
                    user,
                    at_ns,
                )
            )
