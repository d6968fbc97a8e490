"""Who had a GPU: a stretch of its time to charges whose parts add up to it. Pure integers.

Rules, named with their version on every part:
  exclusive/1    one holder: all of it;
  busy-memory/1  several: the busy part by their share of the SMs, the rest by the memory they hold;
  memory/1       several, and no share of the SMs is known: all by memory;
  equal/1        several, and neither is known of all: in equal parts;
  mps-…/1        the same where some share through MPS: their kernels overlap, so that a sample of
                 who works is worth less, and what it decided has a name of its own;
  mig-slices/1   a GPU in MIG instances: each has the larger of its compute slices of 7 and memory
                 slices of 8; what no instance has, and an instance without holder, is idle;
  idle/1         watched, and nobody held it but the server of MPS, which works for others;
  unwatched/1    no daemon watched: nobody can say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from whence_collector.prices import shares

HELD, ORPHANED, IDLE, UNATTRIBUTED = "held", "orphaned", "idle", "unattributed"
MIG_PARTS = 56  # sevenths of the compute slices and eighths of the memory slices


@dataclass(frozen=True, slots=True)
class Hold:
    """A process that held a GPU; end None while it goes on. Instance: the MIG instance, if any."""

    process_id: int
    start_ns: int
    end_ns: int | None
    orphaned: bool = False
    instance: str | None = None
    serves: bool = False  # the server of MPS: part of the machine, gets nothing


@dataclass(frozen=True, slots=True)
class Watched:
    """A slice of time in which the GPU was watched; busy None is not known."""

    from_ns: int
    until_ns: int
    busy_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one process had of the GPU in a slice; None is not known."""

    process_id: int
    from_ns: int
    until_ns: int
    sm_ppm: int | None
    memory_bytes: int | None
    mps: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG instance and its size."""

    uuid: str
    compute_slices: int
    memory_slices: int

    @property
    def parts(self) -> int:
        """Its share of the GPU in MIG_PARTS-ths."""
        return max(self.compute_slices * 8, self.memory_slices * 7)


@dataclass(frozen=True, slots=True)
class Part:
    """What one holder, or nobody, had of a charge."""

    part: str
    process_id: int | None
    alloc_ns: int
    method: str
    busy_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """A stretch of one GPU's time; the parts add up to its length."""

    from_ns: int
    until_ns: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of one GPU."""

    watched: Sequence[Watched]  # by time, without overlap
    holds: Sequence[Hold]
    shares: Sequence[Share] = ()
    instances: Sequence[Instance] = ()


def attribute(
    timeline: Timeline, from_ns: int, until_ns: int, cuts: Iterable[int] = ()
) -> list[Charge]:
    """Give out every nanosecond of [from_ns, until_ns): charges without gap or overlap.

    cuts: further times at which a charge has to end, such as those of price changes.
    """
    edges = {from_ns, until_ns, *cuts}
    edges.update(edge for each in timeline.watched for edge in (each.from_ns, each.until_ns))
    edges.update(edge for hold in timeline.holds for edge in (hold.start_ns, hold.end_ns or 0))
    inner = sorted(edge for edge in edges if from_ns <= edge <= until_ns)
    fixed = set(cuts)
    charges: list[Charge] = []
    lookup = _Lookup(timeline)
    for begin, end in pairwise(inner):
        charge = _charge(lookup, begin, end)
        if charges and begin not in fixed and (joined := _joined(charges[-1], charge)):
            charges[-1] = joined
        else:
            charges.append(charge)
    return charges


class _Lookup:
    """The timeline with its slices ready to be searched."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._starts = [each.from_ns for each in timeline.watched]
        holds = (hold for hold in timeline.holds if not hold.serves)
        self._holds = sorted(holds, key=lambda hold: hold.start_ns)
        self._shares: dict[int, list[Share]] = {}
        for share in timeline.shares:
            self._shares.setdefault(share.process_id, []).append(share)

    def watched(self, at_ns: int) -> Watched | None:
        """Return the slice that holds a time."""
        at = bisect_right(self._starts, at_ns) - 1
        found = self.timeline.watched[at] if at >= 0 else None
        return found if found and at_ns < found.until_ns else None

    def holders(self, at_ns: int, instance: str | None = None) -> dict[int, Hold]:
        """Return who holds at a time, once for each process; one that lives goes before orphans."""
        found: dict[int, Hold] = {}
        for hold in self._holds:
            if hold.start_ns > at_ns:
                break
            if hold.end_ns is not None and hold.end_ns <= at_ns:
                continue
            if hold.instance != instance:
                continue
            if hold.process_id not in found or not hold.orphaned:
                found[hold.process_id] = hold
        return found

    def share(self, process_id: int, at_ns: int) -> Share | None:
        """Return what a process had at a time."""
        for share in self._shares.get(process_id, ()):
            if share.from_ns <= at_ns < share.until_ns:
                return share
        return None


def _charge(lookup: _Lookup, begin: int, end: int) -> Charge:
    length = end - begin
    watched = lookup.watched(begin)
    if watched is None:
        return Charge(begin, end, (Part(UNATTRIBUTED, None, length, "unwatched/1"),))
    if lookup.timeline.instances:
        return Charge(begin, end, _mig_parts(lookup, begin, length))
    busy_ns = None
    if watched.busy_ns is not None:
        # of the slice, spread evenly over it, and exact over its whole length
        whole, before = watched.until_ns - watched.from_ns, begin - watched.from_ns
        busy_ns = min(
            length,
            watched.busy_ns * (before + length) // whole - watched.busy_ns * before // whole,
        )
    holders = lookup.holders(begin)
    if not holders:
        return Charge(begin, end, (Part(IDLE, None, length, "idle/1", busy_ns),))
    return Charge(begin, end, _split(lookup, begin, length, busy_ns, list(holders.values())))


def _split(
    lookup: _Lookup, at_ns: int, length: int, busy_ns: int | None, holders: list[Hold]
) -> tuple[Part, ...]:
    """Split a stretch among those who hold it."""
    if len(holders) == 1:
        return (_part(holders[0], length, "exclusive/1", busy_ns),)
    known = [lookup.share(hold.process_id, at_ns) for hold in holders]
    memory = [share.memory_bytes if share else None for share in known]
    busy = [share.sm_ppm if share else None for share in known]
    memory_known, busy_known = _complete(memory), _complete(busy)
    through = "mps-" if any(share and share.mps for share in known) else ""
    if busy_known and memory_known and busy_ns is not None:
        worked = shares(busy_ns, busy_known)
        rested = shares(length - busy_ns, memory_known)
        return tuple(
            _part(hold, work + rest, f"{through}busy-memory/1", work)
            for hold, work, rest in zip(holders, worked, rested, strict=True)
        )
    if memory_known:
        method, weights = f"{through}memory/1", memory_known
    else:
        method, weights = f"{through}equal/1", [1] * len(holders)
    parts = shares(length, weights)
    return tuple(_part(hold, part, method) for hold, part in zip(holders, parts, strict=True))


def _complete(weights: Sequence[int | None]) -> list[int] | None:
    """Return the weights where all are known and they say something."""
    known = [weight for weight in weights if weight is not None]
    return known if len(known) == len(weights) and any(known) else None


def _mig_parts(lookup: _Lookup, at_ns: int, length: int) -> tuple[Part, ...]:
    instances = lookup.timeline.instances
    rest = max(0, MIG_PARTS - sum(each.parts for each in instances))
    parts: list[Part] = []
    idle_ns = 0
    sizes = shares(length, [*(each.parts for each in instances), rest])
    for instance, size in zip(instances, sizes, strict=False):
        holders = list(lookup.holders(at_ns, instance.uuid).values())
        if holders:
            split = _split(lookup, at_ns, size, None, holders)
            parts += [replace(each, method="mig-slices/1") for each in split]
        else:
            idle_ns += size
    # Who holds the GPU and is in no known instance: shares what no instance has.
    unplaced = list(lookup.holders(at_ns).values())
    remainder = sizes[-1] + idle_ns
    if unplaced:
        parts += _split(lookup, at_ns, remainder, None, unplaced)
    elif remainder:
        parts.append(Part(IDLE, None, remainder, "mig-slices/1"))
    return tuple(parts)


def _part(hold: Hold, alloc_ns: int, method: str, busy_ns: int | None = None) -> Part:
    part = ORPHANED if hold.orphaned else HELD
    return Part(part, hold.process_id, alloc_ns, method, busy_ns)


def _joined(first: Charge, second: Charge) -> Charge | None:
    """Join two charges that follow each other and differ only in length."""
    if len(first.parts) != 1 or len(second.parts) != 1:
        return None
    one, other = first.parts[0], second.parts[0]
    same = (one.part, one.process_id, one.method) == (other.part, other.process_id, other.method)
    if not same or (one.busy_ns is None) != (other.busy_ns is None):
        return None
    busy_ns = None if one.busy_ns is None else one.busy_ns + (other.busy_ns or 0)
    part = replace(one, alloc_ns=one.alloc_ns + other.alloc_ns, busy_ns=busy_ns)
    return Charge(first.from_ns, second.until_ns, (part,))
