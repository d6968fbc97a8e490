"""The lives of captures: what a daemon says of itself, and the times that nobody observed.

Small tables, held in memory whole. Only writes inside the transaction that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from whence_proto.v1 import ingest_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.resolved import MarkRow, ResolvedBatch
    from whence_collector.store import Writer

# A daemon that says nothing of itself is of before: its last commit is all that is known.
LIVES = """
SELECT c.capture_id, b.host_id, c.boot_id, l.began_ns,
    coalesce(l.told_ns, m.committed_ns), l.ended_ns
FROM capture c
JOIN boot b USING (boot_id)
LEFT JOIN capture_life l USING (capture_id)
LEFT JOIN batch_ledger m ON m.epoch = c.epoch
ORDER BY c.capture_id
"""

LIFE_COLUMNS = ("capture_id", "host_id", "boot_id", "began_ns", "told_ns", "ended_ns")


@dataclass(slots=True)
class Life:
    """One capture."""

    capture_id: int
    host_id: int
    boot_id: int
    began_ns: int | None = None
    told_ns: int | None = None
    ended_ns: int | None = None

    @property
    def known_until_ns(self) -> int | None:
        """Up to when everything has been told; what is known of a capture that said nothing."""
        return self.told_ns or self.began_ns


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nobody observed a host; Unix ns."""

    from_ns: int
    until_ns: int
    why: str
    same_boot: bool

    @property
    def sentence(self) -> str:
        """How long, when and why."""
        seconds = (self.until_ns - self.from_ns) / 1e9
        return (
            f"not observed for {seconds:.1f} s, from {_utc(self.from_ns)} to "
            f"{_utc(self.until_ns)}: {self.why}"
        )


@dataclass(frozen=True, slots=True)
class Census:
    """Who lived when a capture had told what ran at its beginning, or at a later walk."""

    host_id: int
    boot_id: int
    alive: frozenset[tuple[int, int]]  # (tgid, start_ns)
    at_boot_ns: int  # who began later is not in it
    gap: Gap | None  # what nobody observed before the capture; None at a later walk, or the first


class Captures:
    """Follows the marks of each capture."""

    def __init__(self, writer: Writer) -> None:
        self._lives: dict[int, Life] = {}
        for row in writer.rows(LIVES):
            self._lives[row[0]] = Life(*row)
        self._changed: dict[int, Life] = {}
        self._walked = set(writer.rows("SELECT boot_id, until_ns FROM unobserved"))

    def follow(self, batch: ResolvedBatch, writer: Writer) -> Census | None:
        """Take in what a batch says of its capture; return who lives, when it says that."""
        life = self._lives.get(batch.capture_id)
        if life is None:
            life = Life(batch.capture_id, batch.host_id, batch.boot_id)
            self._lives[batch.capture_id] = life
        if not batch.marks:
            return None
        census: MarkRow | None = None
        for mark in batch.marks:
            if mark.mark == wire.CAPTURE_MARK_BEGAN:
                life.began_ns = mark.at_unix_ns
            elif mark.mark == wire.CAPTURE_MARK_TOLD:
                life.told_ns = max(life.told_ns or 0, mark.at_unix_ns)
            elif mark.mark == wire.CAPTURE_MARK_ENDED:
                life.ended_ns = mark.at_unix_ns
            elif mark.mark == wire.CAPTURE_MARK_WALKED:
                census = mark
        self._changed[life.capture_id] = life
        if census is None:
            return None
        gap = self._gap_before(life)
        if gap is not None and not self._keep(gap, life, writer):
            gap = None
        return Census(life.host_id, life.boot_id, census.alive, census.at_boot_ns, gap)

    def _gap_before(self, life: Life) -> Gap | None:
        before = [
            each
            for each in self._lives.values()
            if each.host_id == life.host_id
            and each.capture_id < life.capture_id
            and each.known_until_ns is not None
        ]
        if not before or life.began_ns is None:
            return None
        last = max(before, key=lambda each: each.known_until_ns or 0)
        from_ns = min(last.known_until_ns or 0, life.began_ns)
        if last.boot_id != life.boot_id:
            why = "the host went down"
        elif last.ended_ns is not None:
            why = "the daemon was stopped"
        else:
            why = "the daemon died, and what it had not delivered with it"
        return Gap(from_ns, life.began_ns, why, last.boot_id == life.boot_id)

    def _keep(self, gap: Gap, life: Life, writer: Writer) -> bool:
        """Store a gap; False when it is stored already: then this is a later walk."""
        key = life.boot_id, gap.until_ns
        if key in self._walked:
            return False
        self._walked.add(key)
        writer.execute(
            "INSERT INTO unobserved VALUES (?, ?, ?, ?, ?)",
            (life.host_id, life.boot_id, gap.from_ns, gap.until_ns, gap.why),
        )
        return True

    def store(self, writer: Writer) -> None:
        """Write down the lives that changed since the last time."""
        lives, self._changed = list(self._changed.values()), {}
        if not lives:
            return
        writer.rows_with(
            {"capture_id": [life.capture_id for life in lives]},
            "DELETE FROM capture_life WHERE capture_id IN (SELECT capture_id FROM wanted)",
        )
        writer.append(
            "capture_life",
            {name: [getattr(life, name) for life in lives] for name in LIFE_COLUMNS},
        )


def _utc(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
