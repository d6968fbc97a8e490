"""Requests, records and principals as messages of request.proto, and cards back. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from whence_collector.approval_rules import needed
from whence_collector.audit_chain import Record
from whence_collector.budget_end import rule_of
from whence_collector.errors import InvalidRequest
from whence_collector.principals import Kind, Policy, Principal, Role
from whence_collector.request_card import (
    BudgetEnd,
    Card,
    Compute,
    DataRef,
    canonical,
    usd_text,
)
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.request_book import Book, Comment, Request, Review

# Also what ssh-keygen takes as a principal, without patterns.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._@+-]{0,63})?")
APPROVAL_NAMESPACE = "whence.approval"
REFUSES = "its settings let no run be ended (enforce = true under [policy] in whenced.toml)"


def card_from(message: wire.Card) -> Card:
    """Read a card of the wire. Raises InvalidRequest for a negative number."""
    if message.budget_micro_usd < 0 or message.compute.duration_s < 0:
        raise InvalidRequest("budget and hours cannot be negative; correct them")
    return Card(
        title=message.title.strip(),
        rationale=message.rationale.strip(),
        project=message.project,
        datasets=tuple(DataRef(each.name, each.uri, each.digest) for each in message.datasets),
        base_model=DataRef(
            message.base_model.name, message.base_model.uri, message.base_model.digest
        ),
        repository=message.repository,
        commit=message.commit,
        command=message.command,
        compute=Compute(
            message.compute.count, message.compute.gpu_model, message.compute.duration_s
        ),
        budget_micro_usd=message.budget_micro_usd,
        reviewers=tuple(dict.fromkeys(message.reviewers)),
        on_behalf_of=message.on_behalf_of,
        expires_unix_ns=message.expires_unix_ns,
        expected_outcome=message.expected_outcome.strip(),
        stop_criteria=message.stop_criteria.strip(),
        supersedes=message.supersedes,
        labels=tuple(sorted(message.labels.items())),
        budget_end=_budget_end(message),
    )


def _budget_end(message: wire.Card) -> BudgetEnd | None:
    if not message.HasField("budget_end"):
        return None
    asked = message.budget_end
    grace_s = asked.grace_s if asked.HasField("grace_s") else None
    if grace_s is not None and grace_s < 0:
        raise InvalidRequest("the grace of enforce cannot be negative; correct it")
    return BudgetEnd(asked.at_percent, asked.checkpoint_signal, grace_s)


def card_message(card: Card) -> wire.Card:
    """Write a card for the wire."""
    message = wire.Card(
        title=card.title,
        rationale=card.rationale,
        project=card.project,
        datasets=[_ref(each) for each in card.datasets],
        repository=card.repository,
        commit=card.commit,
        command=card.command,
        budget_micro_usd=card.budget_micro_usd,
        reviewers=card.reviewers,
        on_behalf_of=card.on_behalf_of,
        expires_unix_ns=card.expires_unix_ns,
        expected_outcome=card.expected_outcome,
        stop_criteria=card.stop_criteria,
        supersedes=card.supersedes,
        labels=dict(card.labels),
    )
    if card.base_model != DataRef():
        message.base_model.CopyFrom(_ref(card.base_model))
    if card.compute != Compute():
        compute = card.compute
        message.compute.count = compute.count
        message.compute.gpu_model = compute.gpu_model
        message.compute.duration_s = compute.duration_s
    if card.budget_end is not None:
        own = card.budget_end
        message.budget_end.at_percent = own.at_percent
        message.budget_end.checkpoint_signal = own.checkpoint_signal
        if own.grace_s is not None:
            message.budget_end.grace_s = own.grace_s
    return message


def ending_message(book: Book, request: Request) -> wire.Ending | None:
    """Write what is done, or was, when the budget is spent; None for nothing."""
    ending = request.ending
    rule = rule_of(book.policy, request.card) if ending is None else ending.rule
    if rule is None:
        return None
    message = wire.Ending(
        at_percent=rule.at_percent,
        checkpoint_signal=rule.checkpoint_signal,
        grace_s=rule.grace_s,
        because=rule.because,
        told=[f"{host}: {REFUSES}" for host in sorted(request.unenforced)],
    )
    if ending is not None:
        message.phase, message.ordered_unix_ns = ending.phase, ending.at_unix_ns
        message.told.extend(text for each in ending.hosts.values() for text in each.told)
    return message


def _ref(ref: DataRef) -> wire.DataRef:
    return wire.DataRef(name=ref.name, uri=ref.uri, digest=ref.digest)


def summary(book: Book, request: Request) -> wire.RequestSummary:
    """Write a request in one line."""
    card = request.card
    message = wire.RequestSummary(
        request_id=request.request_id,
        state=request.state.value,
        revision=request.revision.number,
        digest=request.revision.digest,
        title=card.title,
        requester=request.requester,
        requester_kind=request.requester_kind,
        project=card.project,
        budget_micro_usd=card.budget_micro_usd,
        spent_micro_usd=request.spent_micro_usd,
        filed_unix_ns=request.filed_unix_ns,
        state_unix_ns=request.state_unix_ns,
        reviewers=card.reviewers,
        approved_by=sorted(each.who for each in request.approvals()),
        approvals_needed=needed(book.policy, card),
    )
    if request.estimate.get("micro_usd") is not None:
        message.estimate_micro_usd = request.estimate["micro_usd"]
    if request.claim is not None:
        message.claimed_by = request.claim.who
    return message


def detail(book: Book, request: Request) -> wire.RequestDetail:
    """Write all of a request that the book knows; runs and money are added by who knows them."""
    held = request.approvals()
    message = wire.RequestDetail(
        summary=summary(book, request),
        card=card_message(request.card),
        findings=[wire.Finding(**each) for each in request.findings],
        decisions=[_decision(each, each in held) for each in request.reviews],
        comments=[remark(each) for each in request.comments],
        approval_text=approval_text(request),
    )
    if request.estimate:
        message.estimate.CopyFrom(wire.Estimate(**request.estimate))
    if request.claim is not None:
        message.claim_id = request.claim.claim_id
        message.claim_until_unix_ns = request.claim.until_unix_ns
    if request.superseded_by:
        message.superseded_by = request.superseded_by
    ending = ending_message(book, request)
    if ending is not None:
        message.ending.CopyFrom(ending)
    return message


def approval_text(request: Request) -> str:
    """Return what a signature of an approval covers: one line for a person, one for a machine."""
    card, revision = request.card, request.revision
    return (
        f"I approve {request.request_id} revision {revision.number}: {card.title!r}, "
        f"at most {usd_text(card.budget_micro_usd)}.\n"
        f"{request.request_id} {revision.digest}\n"
    )


def _decision(review: Review, holds: bool) -> wire.Decision:
    return wire.Decision(
        revision=review.revision,
        digest=review.digest,
        who=review.who,
        verdict=review.verdict,
        reason=review.reason,
        at_unix_ns=review.at_unix_ns,
        holds=holds,
        signature=review.signature,
        budget_micro_usd=review.micro_usd,
    )


def remark(comment: Comment) -> wire.Remark:
    """Write a comment or note."""
    return wire.Remark(
        target=comment.target,
        who=comment.who,
        who_kind=comment.who_kind,
        text=comment.text,
        at_unix_ns=comment.at_unix_ns,
    )


def audit_record(record: Record) -> wire.AuditRecord:
    """Write a record as it is chained."""
    return wire.AuditRecord(
        number=record.number,
        at_unix_ns=record.at_unix_ns,
        actor_json=canonical(record.actor).decode(),
        action=record.action,
        subject=record.subject,
        content_json=canonical(record.content).decode(),
        previous_sha256=record.previous_sha256,
        sha256=record.sha256,
    )


def principal_message(principal: Principal) -> wire.Principal:
    """Write a principal."""
    message = wire.Principal(
        name=principal.name,
        kind=principal.kind.value,
        owner=principal.owner,
        roles=sorted(role.value for role in principal.roles),
        accounts=principal.accounts,
        ssh_keys=principal.ssh_keys,
        disabled=principal.disabled,
    )
    if principal.approve_limit_micro_usd is not None:
        message.approve_limit_micro_usd = principal.approve_limit_micro_usd
    if principal.spend_cap_micro_usd is not None:
        message.spend_cap_micro_usd = principal.spend_cap_micro_usd
    return message


def principal_from(message: wire.Principal) -> Principal:
    """Read a principal. Raises InvalidRequest for a kind or role that there is not."""
    try:
        kind = Kind(message.kind)
        roles = frozenset(Role(role) for role in message.roles)
    except ValueError as error:
        raise InvalidRequest(f"{error}; kinds and roles are in docs/requests.md") from error
    if kind is Kind.SYSTEM or not NAME.fullmatch(message.name):
        raise InvalidRequest(
            f"{message.name!r} cannot be a principal: write letters, digits, . _ @ + - and, "
            "for an agent, OWNER/NAME; the kind is human, agent or node"
        )
    if (kind is Kind.AGENT) != bool(message.owner):
        raise InvalidRequest("an agent has an owner and nobody else has; give --owner for agents")
    return Principal(
        name=message.name,
        kind=kind,
        roles=roles,
        owner=message.owner,
        approve_limit_micro_usd=_given(message, "approve_limit_micro_usd"),
        spend_cap_micro_usd=_given(message, "spend_cap_micro_usd"),
        accounts=tuple(message.accounts),
        ssh_keys=tuple(message.ssh_keys),
        disabled=message.disabled,
    )


def _given(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def policy_message(policy: Policy) -> wire.PolicyRequest:
    """Write the house rules."""
    return wire.PolicyRequest(**policy.document())


def policy_changes(message: Any) -> dict[str, Any]:
    """Return the rules that a message gives."""
    names = [field.name for field in message.DESCRIPTOR.fields]
    return {name: getattr(message, name) for name in names if message.HasField(name)}
