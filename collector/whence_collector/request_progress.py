"""What observed runs and money do to a request: started, ended, burned, over budget. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.audit_chain import Draft
from whence_collector.request_book import UNDER_WAY, State

if TYPE_CHECKING:
    from whence_collector.request_book import Request

# Shares of the budget that are told, in percent.
MARKS = (50, 80, 100, 120, 150, 200)
SECOND_NS = 1_000_000_000


def link_run(request: Request, run_id: str, how: str, score: int, remark: str = "") -> list[Draft]:
    """Say that a run answers the request; the first one under a claim starts it."""
    if any(link.run_id == run_id for link in request.runs):
        return []
    state = request.state
    if state in (State.CLAIMED, State.APPROVED):
        state = State.RUNNING
    content = {"run": run_id, "how": how, "score": score, "state": state.value}
    if remark:
        content["remark"] = remark
    return [Draft("request.run", request.request_id, content)]


def ended(request: Request, outcomes: list[str], spent_micro_usd: int) -> list[Draft]:
    """End a running request with its runs' outcomes, in the order of their begin."""
    if request.state is not State.RUNNING or not outcomes or "running" in outcomes:
        return []
    if spent_micro_usd > request.card.budget_micro_usd:
        state = State.OVER_BUDGET
    else:
        state = State.DONE if outcomes[-1] == "succeeded" else State.FAILED
    content = {"state": state.value, "outcomes": outcomes, "spent_micro_usd": spent_micro_usd}
    return [Draft("request.ended", request.request_id, content)]


def burned(request: Request, spent_micro_usd: int) -> list[Draft]:
    """Tell each mark of the budget once, also where several are passed at once."""
    if request.state not in UNDER_WAY and request.state is not State.OVER_BUDGET:
        return []
    budget = request.card.budget_micro_usd
    if budget <= 0:
        return []
    told = {"spent_micro_usd": spent_micro_usd, "budget_micro_usd": budget}
    return [
        Draft("request.burned", request.request_id, {"percent": mark, **told})
        for mark in MARKS
        if mark > request.reached and spent_micro_usd * 100 >= mark * budget
    ]


def exhausted_unix_ns(
    budget_micro_usd: int, spent_micro_usd: int, micro_usd_per_hour: int, at_unix_ns: int
) -> int | None:
    """Return when the budget ends at the present rate; None while nothing burns.

    Exact for a rate that holds: the nanosecond in which the last micro-dollar is spent.
    """
    if micro_usd_per_hour <= 0:
        return None
    left = budget_micro_usd - spent_micro_usd
    return at_unix_ns + left * 3600 * SECOND_NS // micro_usd_per_hour
