"""What this capture can prove of itself: conservation, sequences, skipped programs, the balance.

Joins the pure accounts with the kernel side and says, in rows, where capture stands and what was
lost, as narrowly as it can be known. See docs/design/0005-proof.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from whence_proto.v1 import ingest_pb2 as wire
from whenced.balance import Balance, Difference, Walk
from whenced.losses import Ledger
from whenced.oracle import Oracle
from whenced.record import Kind
from whenced.rows import AccountRow, LossRow, MarkRow, ProcessKey
from whenced.sequences import Sequences

if TYPE_CHECKING:
    from whenced.processes import Processes
    from whenced.record import Rows
    from whenced.rows import Row
    from whenced.taskstats import Accounts

_SECOND_NS: Final = 1_000_000_000
_WALK_NS: Final = 60 * _SECOND_NS
_RECORDS: Final = ("life", "touch", "name")  # classes of the hot ring
_UNBORN: Final = "its fork was not seen: a walk over all tasks found it"
_UNDEAD: Final = "its end was not seen: a walk over all tasks did not find it"
_VANISHED: Final = "a gap in a CPU's numbers that no counter explains"


class Told(Protocol):
    """What is asked of the kernel side (loader.Capture)."""

    def alive(self) -> Rows:
        """Who lives now."""

    def take_losers(self) -> tuple[Rows, Rows]:
        """Who lost records since the last call."""

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Class -> (attempted, stored, lost)."""

    def recursion_misses(self) -> dict[str, int]:
        """Program -> times that it was skipped."""


class Proof:
    """The accounts of one capture; used by the capture loop's thread alone.

    ``whole_host``: no scope lets processes move in alive, so each that nobody introduced is a loss.
    """

    def __init__(
        self, kernel: Told, processes: Processes, began_ns: int, *, whole_host: bool
    ) -> None:
        self.kernel, self._processes, self._whole_host = kernel, processes, whole_host
        self.ledger = Ledger(began_ns)
        self.sequences = Sequences()
        self.balance = Balance()
        self.misses: dict[str, int] = {}
        self._marks = [MarkRow(wire.CAPTURE_MARK_BEGAN, began_ns)]
        self._walk: Walk | None = None  # not compared yet
        self._walk_due_ns = self._forget_due_ns = began_ns
        self._walked_ns = self._looked_ns = self._told_ns = began_ns
        self._is_walked = self._is_late = False
        self._ended_ns = self._settled_ns = 0
        self._found: list[Row] = []
        self.oracle = Oracle(processes, began_ns)
        self._accounts: Accounts | None = None
        self._overflows = 0
        self.no_accounts: str | None = "the kernel's accounts are not open yet"

    def __getstate__(self) -> dict[str, Any]:
        """All but what is of this process: the kernel's accounts are silent for who lives then."""
        apart = {"kernel": None, "_accounts": None, "oracle": None}
        return vars(self) | apart

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.oracle = Oracle(self._processes, 0)
        self.no_accounts = "the kernel's accounts are not open yet"

    def received(self, rows: Rows) -> None:
        """Add records that were taken."""
        self.ledger.received(np.bincount(rows["kind"]))
        self.sequences.received(rows)
        ends = rows["at_ns"][rows["kind"] == int(Kind.EXIT)]
        self._ended_ns = max(self._ended_ns, int(ends.max(initial=0)))
        if self._accounts is not None:
            self.oracle.received(rows)

    def uses(self, keys: Rows, uses: Rows) -> None:
        """Add a retired table of uses."""
        self.ledger.aggregates(len(keys))
        if self._accounts is not None:
            self.oracle.uses(keys, uses)

    def listen(self, accounts: Accounts | str, now_ns: int) -> None:
        """Compare with the kernel's accounts from now on, or say why that cannot be."""
        if isinstance(accounts, str):
            self.no_accounts = accounts
        else:
            self.oracle.since_ns = now_ns
            self._accounts, self.no_accounts = accounts, None

    @property
    def waiting(self) -> int:
        """Rows that say something new; where capture stands goes along with others."""
        # An end is worth a mark of its own: a run that ended before a death of this daemon and was
        # told whole must not be marked for it.
        is_owed = self._told_ns < self._ended_ns <= self._settled_ns
        return len(self._found) + self.ledger.is_open + is_owed + self._is_late

    def step(self, now_ns: int, settled_ns: int) -> None:
        """Walk over all tasks when that is due; compare when all records from before are in."""
        self._settled_ns = settled_ns
        self._is_late = self.ledger.is_late(now_ns)
        if self._walk is not None and settled_ns >= self._walk.at_ns:
            walk, self._walk = self._walk, None
            self._compare(walk)
        if now_ns >= self._forget_due_ns:
            self._found += self._asked(now_ns, settled_ns, last=False)
            self.oracle.forget(now_ns, self._processes.living())
            self._forget_due_ns = now_ns + _SECOND_NS
        if self._walk is None and now_ns >= self._walk_due_ns:
            self._walk = Walk.of(now_ns, self.kernel.alive())
            self._walk_due_ns = now_ns + _WALK_NS

    def rows(self, now_ns: int, settled_ns: int, *, last: bool = False) -> list[Row]:
        """Return what goes into the batch that is about to be closed.

        ``settled_ns``: everything of before has been taken and is in this batch or earlier ones.
        ``last``: nothing is observed after it.
        """
        rows: list[Row] = [
            *self._asked(now_ns, settled_ns, last=last),
            *self._marks,
            *self._found,
            *self._losses(now_ns, last=last),
        ]
        self._marks, self._found = [], []
        if settled_ns > self._told_ns:
            rows.append(MarkRow(wire.CAPTURE_MARK_TOLD, settled_ns))
            self._told_ns = settled_ns
        if last:
            rows.append(MarkRow(wire.CAPTURE_MARK_ENDED, self._told_ns))
        return rows

    def state(self) -> dict[str, Any]:
        """What doctor asks for."""
        return {
            "walks": self.balance.walks,
            "differences": self.balance.differences,
            "missing_numbers": self.sequences.missing,
            "lost": self.ledger.lost_in_all,
            "skipped": dict(self.misses),
            "oracle": {
                "unavailable": self.no_accounts,
                "compared": self.oracle.compared,
                "unaccounted": self.oracle.unaccounted,
                "overflows": self._overflows,
            },
        }

    # --- the kernel's accounts --------------------------------------------------------------

    def _asked(self, now_ns: int, settled_ns: int, *, last: bool) -> list[AccountRow]:
        self._take_accounts(now_ns)
        return self.oracle.rows(now_ns, settled_ns, last=last) if self._accounts else []

    def _take_accounts(self, now_ns: int) -> None:
        """A lost account makes the oracle silent for whoever lived then, and nothing else."""
        if self._accounts is None:
            return
        self.oracle.accounts(self._accounts.take(), now_ns)
        if self._accounts.unavailable is not None:
            self.no_accounts = self._accounts.unavailable
        if self._accounts.overflows > self._overflows:
            self._overflows = self._accounts.overflows
            self.oracle.overflowed(now_ns)

    # --- losses -----------------------------------------------------------------------------

    def _losses(self, now_ns: int, *, last: bool) -> list[LossRow]:
        """Whose first, then how many: what happens in between is named at the next look."""
        for process, loser in zip(*self.kernel.take_losers(), strict=True):
            start_ns, tgid, exec_id = process.tolist()
            key = self._processes.key(tgid, start_ns, exec_id)
            self.ledger.lost_by(key or ProcessKey(tgid, start_ns, exec_id), loser["lost"].tolist())
        counts = self.kernel.counts()
        lost = sum(counts[name][2] for name in _RECORDS)
        rows = self.ledger.rows(counts, now_ns, last=last)
        since_ns, self._looked_ns = self._looked_ns, now_ns
        if vanished := self.sequences.vanished(lost, last=last):
            rows.append(LossRow("sequence", vanished, 0, vanished, _VANISHED, since_ns, now_ns))
        rows += self._skipped(since_ns, now_ns)
        if any(row.lost and row.record_class == "life" for row in rows):
            self._walk_due_ns = min(self._walk_due_ns, now_ns + _SECOND_NS)
        return rows

    def _skipped(self, since_ns: int, now_ns: int) -> list[LossRow]:
        """Calls of programs that the kernel left out: it says how many, not whose."""
        rows = []
        for name, misses in self.kernel.recursion_misses().items():
            if skipped := misses - self.misses.get(name, 0):
                why = f"the kernel skipped {name}, which was active on that CPU already"
                rows.append(LossRow("program", skipped, 0, skipped, why, since_ns, now_ns))
            self.misses[name] = misses
        return rows

    # --- the balance ------------------------------------------------------------------------

    def _compare(self, walk: Walk) -> None:
        difference = self.balance.compare(walk, self._processes.living())
        if self.balance.is_open:
            self._walk_due_ns = min(self._walk_due_ns, walk.at_ns + _SECOND_NS)
        self._introduce(walk, difference)
        self._end(walk, difference)
        if difference.undead or not self._is_walked:
            self._found.append(
                MarkRow(
                    wire.CAPTURE_MARK_WALKED,
                    walk.at_ns,
                    tuple(
                        self._processes.key(tgid, start_ns, exec_id)
                        or ProcessKey(tgid, start_ns, exec_id)
                        for (tgid, start_ns), (exec_id, _) in walk.in_scope.items()
                    ),
                )
            )
        self._is_walked = True
        self._walked_ns = walk.at_ns

    def _introduce(self, walk: Walk, difference: Difference) -> None:
        for tgid, start_ns in difference.unborn:
            exec_id, uid = walk.in_scope[tgid, start_ns]
            key = self._processes.found_alive(tgid, start_ns, exec_id, uid)
            if self._whole_host:
                self._found.append(self._lost(key, _UNBORN, walk.at_ns))

    def _end(self, walk: Walk, difference: Difference) -> None:
        for tgid, start_ns in difference.undead:
            if key := self._processes.end_unseen(tgid, start_ns, walk.at_ns):
                self._found.append(self._lost(key, _UNDEAD, walk.at_ns))

    def _lost(self, process: ProcessKey, why: str, at_ns: int) -> LossRow:
        self.ledger.lost_in_all += 1
        return LossRow("life", 0, 0, 1, why, self._walked_ns, at_ns, process)
