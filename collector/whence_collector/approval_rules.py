"""Who may decide on a request: the rules that no agent and no requester gets around.

Pure. Each refusal has a code, for metrics and records, and a sentence with what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.errors import RefusedAct
from whence_collector.principals import Kind, Role
from whence_collector.request_book import COMMITTED, IN_REVIEW, State
from whence_collector.request_card import usd_text

if TYPE_CHECKING:
    from whence_collector.principals import Caller, Policy, Principal
    from whence_collector.request_book import Book, Request
    from whence_collector.request_card import Card


def needed(policy: Policy, card: Card) -> int:
    """Return how many approvals a card needs."""
    return 2 if card.budget_micro_usd > policy.two_approvals_above_micro_usd else 1


def approve(
    book: Book,
    caller: Caller,
    request: Request,
    verdict: str,
    digest: str,
    reason: str,
    signature: str,
) -> State:
    """Return the state after a verdict, or refuse it (RefusedAct, with the code of the rule)."""
    _a_person(caller)
    _a_reviewer(caller.principal, request)
    _not_their_own(book, caller.principal, request, verdict)
    _of_this_revision(request, digest)
    if verdict == "withdraw":
        return _withdrawn(caller.principal, request)
    if request.state not in IN_REVIEW and not (
        verdict == "reject" and request.state is State.APPROVED
    ):
        raise RefusedAct(
            "state", f"{request.request_id} is {request.state.value}: there is nothing to decide"
        )
    if verdict == "approve":
        _may_spend(book, caller.principal, request)
        _signed(book.policy, signature)
        return _approved(book, caller.principal, request)
    if not reason.strip():
        raise RefusedAct("reason", f"to {_word(verdict)} takes a reason; give one")
    return State.REJECTED if verdict == "reject" else State.CHANGES_REQUESTED


def _word(verdict: str) -> str:
    return "ask for changes" if verdict == "changes" else verdict


def _a_person(caller: Caller) -> None:
    who = caller.principal
    if not who.name or not caller.credential:
        raise RefusedAct(
            "identity",
            "whence does not know who you are: decide on a host whose daemon runs, or with a token",
        )
    if who.kind is not Kind.HUMAN:
        raise RefusedAct(
            "agent", f"{who.name} is {_kind_words(who)}: only people decide; a reviewer has to"
        )
    if caller.doubt:
        raise RefusedAct(caller.doubt_code or "ancestry", caller.doubt)
    if who.disabled:
        raise RefusedAct("disabled", f"{who.name} is disabled; ask an administrator")


def _kind_words(who: Principal) -> str:
    return f"an agent of {who.owner}" if who.kind is Kind.AGENT else f"a {who.kind.value}"


def _a_reviewer(who: Principal, request: Request) -> None:
    if not who.has(Role.APPROVER):
        raise RefusedAct("role", f"{who.name} is no approver; ask an administrator for the role")
    if who.name not in request.card.reviewers:
        names = ", ".join(request.card.reviewers) or "nobody yet"
        raise RefusedAct(
            "reviewer",
            f"{who.name} is not among the reviewers of {request.request_id} ({names}); "
            "its requester can name them",
        )


def _not_their_own(book: Book, who: Principal, request: Request, verdict: str) -> None:
    """Nobody decides on what they asked for, wrote, or have asked for on their behalf."""
    if who.name in (request.requester, request.card.on_behalf_of):
        raise RefusedAct("self", f"{request.request_id} is {who.name}'s own: somebody else decides")
    if any(revision.editor == who.name for revision in request.revisions):
        raise RefusedAct(
            "self", f"{who.name} wrote a revision of {request.request_id}: somebody else decides"
        )
    limit = book.policy.own_agent_limit_micro_usd
    agents = _agents_of(book, who, request)
    if agents and verdict == "approve" and request.card.budget_micro_usd > limit:
        raise RefusedAct(
            "own-agent",
            f"{agents[0]} is {who.name}'s agent, and {usd_text(request.card.budget_micro_usd)} is "
            f"above what its owner may agree to ({usd_text(limit)}); somebody else decides",
        )


def _agents_of(book: Book, who: Principal, request: Request) -> list[str]:
    """Return who asked for it on this person's account, by today's owner or that at filing."""
    hands = {request.requester, *(revision.editor for revision in request.revisions)}
    agents = []
    for name in sorted(hands - {who.name}):
        known = book.principals.get(name)
        if request.household == who.name or (known is not None and known.owner == who.name):
            agents.append(name)
    return agents


def _of_this_revision(request: Request, digest: str) -> None:
    """A verdict is on what its author read, not on what stands there by the time it arrives."""
    if digest != request.revision.digest:
        raise RefusedAct(
            "stale",
            f"{request.request_id} is at revision {request.revision.number} "
            f"({request.revision.digest[:19]}), not at the one that was read "
            f"({digest[:19] or 'none named'}); read it again",
        )


def _withdrawn(who: Principal, request: Request) -> State:
    if request.state not in (State.FILED, State.APPROVED):
        raise RefusedAct(
            "state",
            f"{request.request_id} is {request.state.value}: an approval can be withdrawn only "
            "before it is claimed",
        )
    if all(review.who != who.name for review in request.approvals()):
        raise RefusedAct("none", f"{who.name} has not approved {request.request_id}")
    return State.FILED


def _may_spend(book: Book, who: Principal, request: Request) -> None:
    budget = request.card.budget_micro_usd
    limit = who.approve_limit_micro_usd
    if limit is not None and budget > limit:
        raise RefusedAct(
            "limit",
            f"{usd_text(budget)} is above what {who.name} may approve; another approver can",
        )
    requester = book.principals.get(request.requester)
    cap = book.spend_cap(requester) if requester is not None else None
    if cap is None and request.requester_kind == Kind.AGENT.value:
        cap = book.policy.agent_spend_cap_micro_usd
    if cap is None:
        return
    others = book.committed_micro_usd(request.requester, besides=request.request_id)
    if others + budget > cap:
        raise RefusedAct(
            "cap",
            f"with {usd_text(others)} approved already, {usd_text(budget)} would take "
            f"{request.requester} above its cap of {usd_text(cap)}",
        )


def _signed(policy: Policy, signature: str) -> None:
    if policy.signatures_required and not signature:
        raise RefusedAct(
            "unsigned", "approvals must be signed here; approve with --sign KEY (an SSH key)"
        )


def _approved(book: Book, who: Principal, request: Request) -> State:
    held = {review.who for review in request.approvals()}
    if who.name in held:
        raise RefusedAct("already", f"{who.name} has approved this revision already")
    if request.state in COMMITTED or len(held) + 1 >= needed(book.policy, request.card):
        return State.APPROVED
    return State.FILED
