"""What may be done to a request: each function returns the change to record, or refuses.

Pure: a book, a caller and a time go in. Nothing here changes the book; request_book.py does, once
the record is on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whence_collector.approval_rules import approve, needed
from whence_collector.audit_chain import Draft
from whence_collector.errors import NotFound, RefusedAct
from whence_collector.principals import Kind, Role
from whence_collector.request_book import OPEN, UNDER_WAY, State
from whence_collector.request_card import changed_fields, usd_text

if TYPE_CHECKING:
    from whence_collector.principals import Caller
    from whence_collector.request_book import Book, Request
    from whence_collector.request_card import Card

VERDICTS = ("approve", "reject", "changes", "withdraw")
TEXT_BYTES = 64 << 10
KEY_LETTERS = 200


def find(book: Book, request_id: str) -> Request:
    """Return a request by its name ("R-12", "12"). Raises NotFound."""
    name = request_id if request_id.upper().startswith("R-") else f"R-{request_id}"
    request = book.requests.get(name.upper())
    if request is None:
        raise NotFound(f"no request {request_id} is known; `whence request list` names them all")
    return request


def require(caller: Caller, role: Role, act: str) -> None:
    """Refuse whoever does not hold a role."""
    who = caller.principal
    if not who.name or not caller.credential:
        raise RefusedAct(
            "identity",
            f"to {act}, whence must know who you are: run it on a host whose daemon runs, "
            "or set WHENCE_TOKEN to a token that an administrator made",
        )
    if who.disabled:
        raise RefusedAct("disabled", f"{who.name} is disabled; ask an administrator")
    if not who.has(role):
        raise RefusedAct(
            "role", f"{who.name} is no {role.value} and cannot {act}; ask an administrator"
        )


def file(
    book: Book,
    caller: Caller,
    card: Card,
    *,
    draft: bool,
    estimate: dict[str, Any],
    findings: list[dict[str, Any]],
    key: str = "",
) -> list[Draft]:
    """File a card, or keep it as a draft; one that takes the place of another ends that one.

    The same key of the same caller is the same filing: nothing is left to do then.
    """
    require(caller, Role.MEMBER, "file a request")
    if key and (caller.principal.name, key) in book.filings:
        return []
    if len(key) > KEY_LETTERS:
        raise RefusedAct("key", f"the key is longer than {KEY_LETTERS} letters; give a shorter one")
    _within_agents_means(book, caller, card)
    request_id = book.next_request_id()
    ended = _superseded(book, caller, card, request_id)
    content = {
        "card": card.document(),
        "digest": card.digest,
        "revision": 1,
        "state": (State.DRAFT if draft else State.FILED).value,
        "estimate": estimate,
        "findings": findings,
    }
    if key:
        content["key"] = key
    return [Draft("request.filed", request_id, content), *ended]


def _within_agents_means(book: Book, caller: Caller, card: Card) -> None:
    who = caller.principal
    cap = book.spend_cap(who)
    if cap is None:
        return
    if card.budget_micro_usd > cap:
        raise RefusedAct(
            "cap",
            f"the budget {usd_text(card.budget_micro_usd)} is above what {who.name} may spend "
            f"({usd_text(cap)}); ask for less, or let {who.owner or 'a person'} file it",
        )
    if book.open_count(who.name) >= book.policy.agent_open_requests:
        raise RefusedAct(
            "quota",
            f"{who.name} has {book.policy.agent_open_requests} open requests, as many as an agent "
            "may; cancel one, or wait for a decision",
        )


def _superseded(book: Book, caller: Caller, card: Card, request_id: str) -> list[Draft]:
    if not card.supersedes:
        return []
    old = find(book, card.supersedes)
    _own(caller, old, "take its place")
    if old.state not in OPEN:
        raise RefusedAct(
            "state", f"{old.request_id} is {old.state.value}; only an open request can be replaced"
        )
    content = {"state": State.SUPERSEDED.value, "by": request_id}
    return [Draft("request.superseded", old.request_id, content)]


def _own(caller: Caller, request: Request, act: str) -> None:
    """Refuse whoever is neither the requester, its owner, nor an agent of the requester."""
    if caller.principal.household != request.household:
        raise RefusedAct(
            "owner",
            f"{request.request_id} is {request.requester}'s: only they, their owner or agents "
            f"may {act}; comment on it instead",
        )


def edit(
    book: Book,
    caller: Caller,
    request_id: str,
    card: Card,
    *,
    estimate: dict[str, Any],
    findings: list[dict[str, Any]],
) -> list[Draft]:
    """Change the card: a new revision. All but a lower budget voids the approvals."""
    require(caller, Role.MEMBER, "edit a request")
    request = find(book, request_id)
    _own(caller, request, "edit it")
    older = request.card
    if not changed_fields(older, card):
        raise RefusedAct("unchanged", f"nothing of {request.request_id} would change; edit a field")
    narrower = card.narrows(older)
    if request.state not in OPEN and not (request.state in UNDER_WAY and narrower):
        raise RefusedAct(
            "state",
            f"{request.request_id} is {request.state.value}: only its budget can still be lowered; "
            "file a new request for anything else",
        )
    if not narrower:
        _within_agents_means(book, caller, card)
    content = {
        "card": card.document(),
        "digest": card.digest,
        "revision": request.revision.number + 1,
        "changed": list(changed_fields(older, card)),
        "state": _after_edit(book, request, card, narrower).value,
        "voids": [] if narrower else sorted(each.who for each in request.approvals()),
        "estimate": estimate,
        "findings": findings,
    }
    return [Draft("request.edited", request.request_id, content)]


def _after_edit(book: Book, request: Request, card: Card, narrower: bool) -> State:
    if request.state is State.DRAFT or request.state in UNDER_WAY:
        return request.state
    if narrower and request.state is not State.CHANGES_REQUESTED:
        held = len(request.approvals())
        return State.APPROVED if held >= needed(book.policy, card) else State.FILED
    return State.FILED


def submit(book: Book, caller: Caller, request_id: str) -> list[Draft]:
    """Put a draft before its reviewers."""
    require(caller, Role.MEMBER, "file a request")
    request = find(book, request_id)
    _own(caller, request, "file it")
    if request.state is not State.DRAFT:
        raise RefusedAct(
            "state", f"{request.request_id} is {request.state.value}, no draft; it is filed already"
        )
    return [Draft("request.submitted", request.request_id, {"state": State.FILED.value})]


def review(
    book: Book,
    caller: Caller,
    request_id: str,
    verdict: str,
    digest: str,
    reason: str,
    signature: str = "",
) -> list[Draft]:
    """Decide on a revision; `digest` is that of the revision that the reviewer read."""
    if verdict not in VERDICTS:
        raise RefusedAct("verdict", f"{verdict!r} is no verdict; give one of {', '.join(VERDICTS)}")
    request = find(book, request_id)
    state = approve(book, caller, request, verdict, digest, reason, signature)
    content: dict[str, Any] = {
        "revision": request.revision.number,
        "digest": request.revision.digest,
        "verdict": verdict,
        "reason": reason,
        "budget_micro_usd": request.card.budget_micro_usd,
        "state": state.value,
    }
    if signature:
        content["signature"] = signature
    return [Draft("request.reviewed", request.request_id, content)]


def comment(book: Book, caller: Caller, request_id: str, text: str) -> list[Draft]:
    """Say something; any member or agent, in any state."""
    require(caller, Role.MEMBER, "comment")
    request = find(book, request_id)
    return [Draft("request.commented", request.request_id, {"text": _said(text)})]


def note(caller: Caller, target: str, text: str) -> list[Draft]:
    """Add a decision note to a run or artifact."""
    require(caller, Role.MEMBER, "add a note")
    return [Draft("note.added", target, {"text": _said(text)})]


def _said(text: str) -> str:
    if not text.strip():
        raise RefusedAct("empty", "there is no text; say something")
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise RefusedAct("long", f"the text is longer than {TEXT_BYTES} bytes; link to it instead")
    return text


def claim(
    book: Book, caller: Caller, request_id: str, claim_id: str, host: str, at_unix_ns: int
) -> list[Draft]:
    """Take an approved request in hand; the first one wins. The claimant may renew it."""
    require(caller, Role.MEMBER, "claim a request")
    request = find(book, request_id)
    who = caller.principal
    if who.kind is Kind.AGENT:
        _own(caller, request, "claim it")
    until = at_unix_ns + book.policy.claim_lease_s * 1_000_000_000
    held = request.claim
    if request.state is State.CLAIMED and held is not None and held.who == who.name:
        content = {
            "claim": held.claim_id,
            "host": held.host,
            "until_unix_ns": until,
            "state": State.CLAIMED.value,
        }
        return [Draft("request.renewed", request.request_id, content)]
    if request.state in UNDER_WAY:
        by = f" by {held.who}" if held is not None else ""
        raise RefusedAct(
            "claimed", f"{request.request_id} is claimed{by} already; `whence request list "
            "--queued` shows what is free"
        )  # fmt: skip
    if request.state is not State.APPROVED:
        raise RefusedAct(
            "state",
            f"{request.request_id} is {request.state.value}, not approved; only an approved "
            "request can be claimed",
        )
    content = {
        "claim": claim_id,
        "host": host,
        "until_unix_ns": until,
        "state": State.CLAIMED.value,
    }
    return [Draft("request.claimed", request.request_id, content)]


def release(book: Book, caller: Caller, request_id: str) -> list[Draft]:
    """Give a claim back before anything ran."""
    require(caller, Role.MEMBER, "release a claim")
    request = find(book, request_id)
    if request.state is not State.CLAIMED or request.claim is None:
        raise RefusedAct("state", f"{request.request_id} is {request.state.value}, not claimed")
    mine = caller.principal.name in (request.claim.who, request.household)
    if not (mine or caller.principal.has(Role.ADMIN)):
        raise RefusedAct(
            "owner", f"{request.request_id} is claimed by {request.claim.who}; they may release it"
        )
    return [Draft("request.released", request.request_id, {"state": State.APPROVED.value})]


def cancel(book: Book, caller: Caller, request_id: str, reason: str) -> list[Draft]:
    """Withdraw a request for good; what runs already goes on, unrequested from then on."""
    require(caller, Role.MEMBER, "cancel a request")
    request = find(book, request_id)
    if not caller.principal.has(Role.ADMIN):
        _own(caller, request, "cancel it")
    if request.state not in OPEN | UNDER_WAY:
        raise RefusedAct("state", f"{request.request_id} is {request.state.value} already")
    content = {"state": State.CANCELLED.value, "reason": reason}
    return [Draft("request.cancelled", request.request_id, content)]


def due(book: Book, request: Request, at_unix_ns: int) -> list[Draft]:
    """What time alone changes: a claim without a run, an approval or a request grown old."""
    held = request.claim
    if request.state is State.CLAIMED and held is not None and held.until_unix_ns <= at_unix_ns:
        content = {"state": State.APPROVED.value, "lapsed": held.claim_id}
        return [Draft("request.released", request.request_id, content)]
    expires = request.card.expires_unix_ns
    if request.state in OPEN and expires and expires <= at_unix_ns:
        content = {"state": State.EXPIRED.value, "because": "the request's own expiry"}
        return [Draft("request.expired", request.request_id, content)]
    valid_ns = book.policy.approval_valid_s * 1_000_000_000
    if request.state is State.APPROVED and request.state_unix_ns + valid_ns <= at_unix_ns:
        content = {"state": State.EXPIRED.value, "because": "nobody claimed it in time"}
        return [Draft("request.expired", request.request_id, content)]
    return []
