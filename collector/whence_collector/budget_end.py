"""What is done when a request's budget is spent: nothing, or what people opted in to. Pure.

The order stands in the chain before it is sent; what hosts tell of it is chained as well. The
default ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from whence_collector.audit_chain import Draft
from whence_collector.request_card import usd_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from whence_collector.audit_chain import Record
    from whence_collector.principals import Policy
    from whence_collector.request_book import Request
    from whence_collector.request_card import Card

WHOLE = 100
PHASES = ("ordered", "checkpoint", "terminate", "kill", "ended", "refused")
LAST = frozenset({"ended", "refused"})
# From SIGTERM to SIGKILL: a job that has its checkpoint needs no more.
TERM_S = 10
RUNNING = "running"


@dataclass(frozen=True, slots=True)
class EndRule:
    """What is to happen, and who wants it so: "request", "project" or "house"."""

    at_percent: int
    checkpoint_signal: str
    grace_s: int
    because: str


@dataclass(slots=True)
class HostEnd:
    """How far a host is with an order."""

    phase: str = "ordered"
    since_unix_ns: int = 0
    told: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ending:
    """An order as the records tell it."""

    order_id: str
    rule: EndRule
    at_unix_ns: int
    hosts: dict[str, HostEnd] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase of the host that is least far."""
        return min((each.phase for each in self.hosts.values()), key=PHASES.index, default="")


def rule_of(policy: Policy, card: Card) -> EndRule | None:
    """Return what people opted in to; None where nobody did."""
    own = card.budget_end
    if own is not None:
        grace = policy.checkpoint_grace_s if own.grace_s is None else own.grace_s
        signal = own.checkpoint_signal or policy.checkpoint_signal
        return EndRule(own.at_percent or WHOLE, signal, grace, "request")
    projects = {name.strip() for name in policy.enforce_projects.split(",")} - {""}
    because = "project" if card.project in projects else "house" if policy.enforce_budgets else ""
    if not because:
        return None
    return EndRule(
        policy.enforce_at_percent, policy.checkpoint_signal, policy.checkpoint_grace_s, because
    )


def order(request: Request, rule: EndRule, spent_micro_usd: int, hosts: list[str]) -> list[Draft]:
    """Order the end of a running request whose share of the budget is spent; once."""
    budget = request.card.budget_micro_usd
    if request.state != RUNNING or request.ending is not None or not hosts:
        return []
    if budget <= 0 or spent_micro_usd * WHOLE < rule.at_percent * budget:
        return []
    content = {
        "order": f"{request.request_id}/{request.revision.number}",
        "because": rule.because,
        "at_percent": rule.at_percent,
        "spent_micro_usd": spent_micro_usd,
        "budget_micro_usd": budget,
        "checkpoint_signal": rule.checkpoint_signal,
        "grace_s": rule.grace_s,
        "hosts": sorted(hosts),
    }
    return [Draft("budget.end_ordered", request.request_id, content)]


def told(
    request: Request, host: str, phase: str, *, signalled: int, left: int, text: str
) -> list[Draft]:
    """Record what a host did; the same phase again says nothing new but for its words."""
    ending = request.ending
    if ending is None or host not in ending.hosts or phase not in PHASES:
        return []
    known = ending.hosts[host]
    if known.phase in LAST or PHASES.index(phase) < PHASES.index(known.phase):
        return []
    if phase == known.phase and (not text or any(text in each for each in known.told)):
        return []
    content = {"host": host, "phase": phase, "signalled": signalled, "left": left, "text": text}
    return [Draft("budget.end_told", request.request_id, content)]


def not_obeyed(request: Request, rule: EndRule, hosts: list[str]) -> list[Draft]:
    """Tell early that hosts on which it runs would refuse the order; once for each host."""
    new = sorted(set(hosts) - request.unenforced)
    return [
        Draft("budget.not_enforced", request.request_id, {"host": host, "because": rule.because})
        for host in new
    ]


def grace_left_s(ending: Ending, host: str, now_unix_ns: int) -> tuple[bool, float]:
    """Return whether a host asked for the checkpoint already, and what is left of the grace."""
    state = ending.hosts[host]
    if state.phase == "ordered":
        return False, float(ending.rule.grace_s)
    if state.phase == "checkpoint":
        waited_s = (now_unix_ns - state.since_unix_ns) / 1e9
        return True, max(0.0, ending.rule.grace_s - waited_s)
    return True, 0.0


def ordered_words(content: Mapping[str, Any]) -> str:
    """Return an order as a sentence."""
    spent, budget = usd_text(content["spent_micro_usd"]), usd_text(content["budget_micro_usd"])
    asks = f"{content['checkpoint_signal']}, " if content["checkpoint_signal"] else ""
    return (
        f"ordered the end of its runs: {spent} of {budget} spent, {content['at_percent']} % is the "
        f"limit of the {content['because']}; {asks}{content['grace_s']} s, SIGTERM, SIGKILL"
    )


def told_words(content: Mapping[str, Any]) -> str:
    """Return what a host told as a sentence."""
    number = content["signalled"]
    many = f"{number} process{'' if number == 1 else 'es'}"
    words = {
        "checkpoint": f"asked {many} for a checkpoint",
        "terminate": f"ended {many} with SIGTERM",
        "kill": f"killed {many}",
        "ended": "its processes have ended",
        "refused": "refused",
    }[content["phase"]]
    more = f": {content['text']}" if content["text"] else ""
    return f"{content['host']}: {words}{more}"


# What the records of it do to a request ---------------------------------------------------------


def _ordered(request: Request, record: Record) -> None:
    content = record.content
    rule = EndRule(*(content[each.name] for each in fields(EndRule)))
    hosts = {host: HostEnd(since_unix_ns=record.at_unix_ns) for host in content["hosts"]}
    request.ending = Ending(content["order"], rule, record.at_unix_ns, hosts)
    request.spent_micro_usd = content["spent_micro_usd"]


def _told(request: Request, record: Record) -> None:
    content = record.content
    assert request.ending is not None  # noqa: S101 -- an order stands before what is told of it
    host = request.ending.hosts[content["host"]]
    if host.phase != content["phase"]:
        host.phase, host.since_unix_ns = content["phase"], record.at_unix_ns
    host.told.append(told_words(content))


def _not_enforced(request: Request, record: Record) -> None:
    request.unenforced.add(record.content["host"])


NOTES: dict[str, Callable[[Request, Record], None]] = {
    "budget.end_ordered": _ordered,
    "budget.end_told": _told,
    "budget.not_enforced": _not_enforced,
}
