"""The state of all requests and principals: what follows from the records, and nothing else.

`apply` trusts a record; whether it may be written is decided in request_rules.py before. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from whence_collector.audit_chain import Head
from whence_collector.budget_end import NOTES, Ending
from whence_collector.principals import Kind, Policy, Principal, principal_of
from whence_collector.request_card import Card, card_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.audit_chain import Record


class State(StrEnum):
    """Where a request stands."""

    DRAFT = "draft"
    FILED = "filed"
    CHANGES_REQUESTED = "changes requested"
    APPROVED = "approved"
    CLAIMED = "claimed"
    RUNNING = "running"
    REJECTED = "rejected"
    DONE = "done"
    FAILED = "failed"
    OVER_BUDGET = "over budget"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


OPEN = frozenset({State.DRAFT, State.FILED, State.CHANGES_REQUESTED, State.APPROVED})
UNDER_WAY = frozenset({State.CLAIMED, State.RUNNING})
COMMITTED = frozenset({State.APPROVED, State.CLAIMED, State.RUNNING})
IN_REVIEW = frozenset({State.FILED, State.CHANGES_REQUESTED})


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the card and who wrote it."""

    number: int
    card: Card
    digest: str
    terms_digest: str
    editor: str
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody decided on a revision. micro_usd: the budget at that time."""

    revision: int
    digest: str
    terms_digest: str
    micro_usd: int
    who: str
    verdict: str
    reason: str
    at_unix_ns: int
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody said. target: a request, run or artifact."""

    target: str
    who: str
    who_kind: str
    text: str
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Who took an approved request in hand, and until when without a run."""

    claim_id: str
    who: str
    host: str
    at_unix_ns: int
    until_unix_ns: int


@dataclass(frozen=True, slots=True)
class RunLink:
    """A run that answers a request. how: claim, tag, content or hand; score in thousandths."""

    run_id: str
    how: str
    score: int
    at_unix_ns: int
    remark: str = ""


@dataclass(slots=True)
class Request:
    """A request as it stands."""

    request_id: str
    requester: str
    requester_kind: str
    household: str
    filed_unix_ns: int
    state: State = State.DRAFT
    state_unix_ns: int = 0
    revisions: list[Revision] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    claim: Claim | None = None
    runs: list[RunLink] = field(default_factory=list)
    spent_micro_usd: int = 0
    estimate: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    reached: int = 0  # highest share of the budget that was told, in percent
    superseded_by: str = ""
    ending: Ending | None = None
    unenforced: set[str] = field(default_factory=set)  # hosts that would not end its runs

    @property
    def revision(self) -> Revision:
        """The current revision."""
        return self.revisions[-1]

    @property
    def card(self) -> Card:
        """The current card."""
        return self.revisions[-1].card

    def approvals(self) -> list[Review]:
        """Return the approvals that hold for the current revision, one for each approver.

        An approval holds for the very digest, or for the same terms with a lower budget.
        """
        last: dict[str, Review] = {}
        for review in self.reviews:
            last[review.who] = review
        now = self.revision
        return [
            review
            for review in last.values()
            if review.verdict == "approve"
            and review.terms_digest == now.terms_digest
            and review.micro_usd >= now.card.budget_micro_usd
        ]


@dataclass(frozen=True, slots=True)
class Token:
    """A secret for off-host callers, by its SHA-256."""

    token_id: str
    principal: str
    sha256: str
    expires_unix_ns: int
    revoked: bool = False


class Book:
    """All that the records say so far."""

    def __init__(self) -> None:
        self.head = Head()
        self.policy = Policy()
        self.principals: dict[str, Principal] = {}
        self.tokens: dict[str, Token] = {}
        self.requests: dict[str, Request] = {}
        self.filings: dict[tuple[str, str], str] = {}  # (who, key) -> request id
        self.notes: dict[str, list[Comment]] = {}
        self.claims: dict[str, str] = {}  # claim id -> request id
        self.run_request: dict[str, str] = {}
        self.unrequested: dict[str, dict[str, Any]] = {}  # run id -> what was told
        self._apply: dict[str, Callable[[Record], None]] = {
            "principal.set": self._principal_set,
            "policy.set": self._policy_set,
            "token.added": self._token_added,
            "token.revoked": self._token_revoked,
            "request.filed": self._filed,
            "request.edited": self._edited,
            "request.submitted": self._moved,
            "request.reviewed": self._reviewed,
            "request.commented": self._commented,
            "request.claimed": self._claimed,
            "request.renewed": self._claimed,
            "request.released": self._released,
            "request.run": self._run,
            "request.ended": self._moved,
            "request.cancelled": self._moved,
            "request.expired": self._moved,
            "request.superseded": self._superseded,
            "request.burned": self._burned,
            "request.over_budget": self._moved,
            **{action: partial(self._noted_of, note) for action, note in NOTES.items()},
            "note.added": self._noted,
            "spend.unrequested": self._unrequested,
        }

    def apply(self, record: Record) -> None:
        """Take in a record; an action that is not known (of a newer collector) changes nothing."""
        effect = self._apply.get(record.action)
        if effect is not None:
            effect(record)
        self.head = Head(record.number, record.sha256)

    def next_request_id(self) -> str:
        """Return the name of the next request."""
        return f"R-{len(self.requests) + 1}"

    def committed_micro_usd(self, principal: str, besides: str = "") -> int:
        """Return what the approved and running requests of a principal may still come to."""
        return sum(
            request.card.budget_micro_usd
            for request in self.requests.values()
            if request.requester == principal
            and request.state in COMMITTED
            and request.request_id != besides
        )

    def open_count(self, principal: str) -> int:
        """Return how many requests of a principal are open."""
        return sum(
            request.requester == principal and request.state in OPEN
            for request in self.requests.values()
        )

    def spend_cap(self, principal: Principal) -> int | None:
        """Return what an agent's requests may come to in all; None for who has no cap."""
        if principal.kind is not Kind.AGENT:
            return None
        own = principal.spend_cap_micro_usd
        return self.policy.agent_spend_cap_micro_usd if own is None else own

    # Each record's effect ---------------------------------------------------------------------

    def _principal_set(self, record: Record) -> None:
        self.principals[record.subject] = principal_of(record.content)

    def _policy_set(self, record: Record) -> None:
        known = self.policy.document()
        self.policy = Policy(**{k: v for k, v in record.content.items() if k in known})

    def _token_added(self, record: Record) -> None:
        content = record.content
        token = Token(
            record.subject, content["principal"], content["sha256"], content["expires_unix_ns"]
        )
        self.tokens[token.token_id] = token

    def _token_revoked(self, record: Record) -> None:
        old = self.tokens[record.subject]
        self.tokens[record.subject] = Token(
            old.token_id, old.principal, old.sha256, old.expires_unix_ns, revoked=True
        )

    def _filed(self, record: Record) -> None:
        actor = record.actor
        request = Request(
            request_id=record.subject,
            requester=actor["name"],
            requester_kind=actor["kind"],
            household=actor.get("owner") or actor["name"],
            filed_unix_ns=record.at_unix_ns,
        )
        self.requests[record.subject] = request
        if "key" in record.content:
            self.filings[actor["name"], record.content["key"]] = record.subject
        self._revise(request, record)

    def _edited(self, record: Record) -> None:
        self._revise(self.requests[record.subject], record)

    def _revise(self, request: Request, record: Record) -> None:
        card = card_of(record.content["card"])
        request.revisions.append(
            Revision(
                number=record.content["revision"],
                card=card,
                digest=record.content["digest"],
                terms_digest=card.terms_digest,
                editor=record.actor["name"],
                at_unix_ns=record.at_unix_ns,
            )
        )
        request.estimate = record.content.get("estimate", {})
        request.findings = record.content.get("findings", [])
        self._moved(record)

    def _moved(self, record: Record) -> None:
        request = self.requests[record.subject]
        state = State(record.content["state"])
        if state is not request.state:
            request.state, request.state_unix_ns = state, record.at_unix_ns
        if state is not State.CLAIMED and state is not State.RUNNING:
            request.claim = None

    def _reviewed(self, record: Record) -> None:
        request, content = self.requests[record.subject], record.content
        on = request.revisions[content["revision"] - 1]
        request.reviews.append(
            Review(
                revision=on.number,
                digest=content["digest"],
                terms_digest=on.terms_digest,
                micro_usd=on.card.budget_micro_usd,
                who=record.actor["name"],
                verdict=content["verdict"],
                reason=content["reason"],
                at_unix_ns=record.at_unix_ns,
                signature=content.get("signature", ""),
            )
        )
        self._moved(record)

    def _commented(self, record: Record) -> None:
        self.requests[record.subject].comments.append(_comment(record))

    def _noted(self, record: Record) -> None:
        self.notes.setdefault(record.subject, []).append(_comment(record))

    def _claimed(self, record: Record) -> None:
        request, content = self.requests[record.subject], record.content
        self._moved(record)
        request.claim = Claim(
            content["claim"],
            record.actor["name"],
            content["host"],
            record.at_unix_ns,
            content["until_unix_ns"],
        )
        self.claims[content["claim"]] = record.subject

    def _released(self, record: Record) -> None:
        self._moved(record)

    def _run(self, record: Record) -> None:
        request, content = self.requests[record.subject], record.content
        request.runs.append(
            RunLink(
                content["run"],
                content["how"],
                content["score"],
                record.at_unix_ns,
                content.get("remark", ""),
            )
        )
        self.run_request[content["run"]] = record.subject
        self._moved(record)

    def _burned(self, record: Record) -> None:
        request = self.requests[record.subject]
        request.reached = record.content["percent"]
        request.spent_micro_usd = record.content["spent_micro_usd"]

    def _noted_of(self, note: Callable[[Request, Record], None], record: Record) -> None:
        note(self.requests[record.subject], record)

    def _superseded(self, record: Record) -> None:
        self._moved(record)
        self.requests[record.subject].superseded_by = record.content["by"]

    def _unrequested(self, record: Record) -> None:
        self.unrequested[record.subject] = record.content


def _comment(record: Record) -> Comment:
    return Comment(
        record.subject,
        record.actor["name"],
        record.actor["kind"],
        record.content["text"],
        record.at_unix_ns,
    )
