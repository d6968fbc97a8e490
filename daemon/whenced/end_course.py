"""The course of ending a run: a checkpoint is asked for, time is given, then it ends. Pure.

What is due follows from the order, the time and how many processes live; end_desk.py does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from whence_proto.v1 import ingest_pb2

_MS_NS: Final = 1_000_000
# What SIGKILL cannot end hangs in the kernel: that is told once, and watched.
STUCK_NS: Final = 30_000_000_000


class Phase(StrEnum):
    """How far it is; the names of the wire (EndReport.phase)."""

    NEW = "new"
    CHECKPOINT = "checkpoint"
    TERMINATE = "terminate"
    KILL = "kill"
    ENDED = "ended"
    REFUSED = "refused"


LAST: Final = frozenset({Phase.ENDED, Phase.REFUSED})


@dataclass(slots=True)
class Course:
    """One order under way; times are of the boot clock."""

    order_id: str
    checkpoint_signal: str
    grace_ns: int
    term_ns: int
    begun_ns: int
    phase: Phase = Phase.NEW
    phase_ns: int = 0
    stuck: bool = False

    @classmethod
    def of(cls, order: ingest_pb2.EndOrder, now_ns: int) -> Course:
        """Begin an order; one whose checkpoint was asked for already goes on behind it."""
        course = cls(
            order.order_id,
            order.checkpoint_signal,
            order.grace_ms * _MS_NS,
            order.term_ms * _MS_NS,
            now_ns,
        )
        if order.checkpoint_asked:
            course.phase, course.phase_ns = Phase.CHECKPOINT, now_ns
        return course

    def due(self, now_ns: int, alive: int) -> Phase | None:
        """Return the phase that begins now, None where the present one goes on."""
        if self.phase in LAST:
            return None
        if not alive:
            return Phase.ENDED
        waited_ns = now_ns - self.phase_ns
        if self.phase is Phase.NEW:
            return Phase.CHECKPOINT
        if self.phase is Phase.CHECKPOINT and waited_ns >= self.grace_ns:
            return Phase.TERMINATE
        if self.phase is Phase.TERMINATE and waited_ns >= self.term_ns:
            return Phase.KILL
        return None

    def enter(self, phase: Phase, now_ns: int) -> None:
        """Note that a phase has begun."""
        self.phase, self.phase_ns = phase, now_ns

    def is_stuck(self, now_ns: int) -> bool:
        """Whether to tell, once, that even SIGKILL ends it not."""
        late = self.phase is Phase.KILL and now_ns - self.phase_ns >= STUCK_NS
        if not late or self.stuck:
            return False
        self.stuck = True
        return True
