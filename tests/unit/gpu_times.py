"""Random GPU lives, and a second way to account for them: by the nanosecond, not by intervals."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random

from whence_collector.attribution import Charge, Hold, Timeline, Watched
from whence_collector.prices import NS_PER_HOUR


def random_timeline(chance: Random, holds: int, span_ns: int) -> Timeline:
    """Slices with a gap now and then, and holds of any length that may overlap."""
    watched, at_ns = [], 0
    while at_ns < span_ns:
        end = min(span_ns, at_ns + chance.randrange(1, span_ns // 10 + 2))
        if chance.random() < 0.9:
            watched.append(Watched(at_ns, end, None))
        at_ns = end
    made = []
    for number in range(holds):
        begin = chance.randrange(span_ns)
        end_ns = None if chance.random() < 0.1 else begin + chance.randrange(1, span_ns)
        made.append(Hold(number % 5 + 1, begin, end_ns, chance.random() < 0.2))
    return Timeline(watched, made)


def independent_totals(timeline: Timeline, from_ns: int, until_ns: int) -> dict[str, Fraction]:
    """Return exact time by part and process, from nothing but who holds at each moment."""
    edges = {from_ns, until_ns}
    for each in timeline.watched:
        edges |= {each.from_ns, each.until_ns}
    for hold in timeline.holds:
        edges |= {hold.start_ns, until_ns if hold.end_ns is None else hold.end_ns}
    totals: dict[str, Fraction] = {}
    for begin, end in pairwise(sorted(edge for edge in edges if from_ns <= edge <= until_ns)):
        if not any(each.from_ns <= begin < each.until_ns for each in timeline.watched):
            names = ["unattributed"]
        else:
            live = [
                hold
                for hold in timeline.holds
                if hold.start_ns <= begin and (hold.end_ns is None or begin < hold.end_ns)
            ]
            names = [str(process) for process in sorted({hold.process_id for hold in live})]
        for name in names or ["idle"]:
            totals[name] = totals.get(name, Fraction(0)) + Fraction(end - begin, len(names) or 1)
    return totals


def given_out(charges: list[Charge]) -> dict[str, int]:
    """Return time by part and process, as charged."""
    totals: dict[str, int] = {}
    for charge in charges:
        for part in charge.parts:
            name = part.part if part.process_id is None else str(part.process_id)
            totals[name] = totals.get(name, 0) + part.alloc_ns
    return totals


def exact_micro_usd(rate: int, ns: int) -> Fraction:
    """Return what a time costs, unrounded."""
    return Fraction(rate * ns, NS_PER_HOUR * 1000)
