"""Records as sentences: what a timeline shows of each change. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from whence_collector.budget_end import ordered_words, told_words
from whence_collector.request_card import usd_text
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.audit_chain import Record

Content = dict[str, Any]


def entry(record: Record) -> wire.TimelineEntry:
    """Write one record for people and programs."""
    words = _WORDS.get(record.action)
    return wire.TimelineEntry(
        number=record.number,
        at_unix_ns=record.at_unix_ns,
        who=str(record.actor.get("name", "")),
        who_kind=str(record.actor.get("kind", "")),
        action=record.action,
        subject=record.subject,
        text=words(record.content) if words is not None else record.action,
    )


def _filed(content: Content) -> str:
    card = content["card"]
    verb = "kept a draft of" if content["state"] == "draft" else "filed"
    return f"{verb} {card['title']!r}, at most {usd_text(card['budget_micro_usd'])}"


def _edited(content: Content) -> str:
    changed = ", ".join(content.get("changed", ())) or "nothing"
    voided = content.get("voids") or ()
    end = f"; voids the approval of {', '.join(voided)}" if voided else ""
    return f"wrote revision {content['revision']}: changed {changed}{end}"


def _reviewed(content: Content) -> str:
    verb = {
        "approve": "approved",
        "reject": "rejected",
        "changes": "asked for changes to",
        "withdraw": "withdrew the approval of",
    }[content["verdict"]]
    signed = " (signed)" if content.get("signature") else ""
    reason = f": {content['reason']}" if content["reason"] else ""
    return f"{verb} revision {content['revision']}{signed}{reason}"


def _released(content: Content) -> str:
    return "the claim lapsed without a run" if content.get("lapsed") else "gave the claim back"


def _run(content: Content) -> str:
    return f"run {content['run'][:8]} answers it, by {content['how']}"


def _burned(content: Content) -> str:
    spent, budget = usd_text(content["spent_micro_usd"]), usd_text(content["budget_micro_usd"])
    return f"{content['percent']} % of the budget is spent: {spent} of {budget}"


_WORDS: dict[str, Callable[[Content], str]] = {
    "request.filed": _filed,
    "request.edited": _edited,
    "request.submitted": lambda _: "filed the draft",
    "request.reviewed": _reviewed,
    "request.commented": lambda content: f"said: {content['text']}",
    "request.claimed": lambda content: f"claimed it for {content['host'] or 'any host'}",
    "request.renewed": lambda _: "renewed the claim",
    "request.released": _released,
    "request.run": _run,
    "request.ended": lambda content: (
        f"ended: {content['state']}, {usd_text(content['spent_micro_usd'])} spent"
    ),
    "request.cancelled": lambda content: f"cancelled: {content['reason'] or 'no reason given'}",
    "request.expired": lambda content: f"expired: {content['because']}",
    "request.superseded": lambda content: f"{content['by']} takes its place",
    "request.burned": _burned,
    "request.over_budget": lambda content: f"over budget: {usd_text(content['spent_micro_usd'])}",
    "budget.end_ordered": ordered_words,
    "budget.end_told": told_words,
    "budget.not_enforced": lambda content: (
        f"cannot be ended on {content['host']} when its budget is spent, as the "
        f"{content['because']} wants: the host's settings do not let it"
    ),
    "note.added": lambda content: f"noted: {content['text']}",
    "refused": lambda content: f"was refused to {content['act']}: {content['reason']}",
    "spend.unrequested": lambda content: (
        f"run {content['run'][:8]} holds GPUs that nobody asked for: {content['command']}"
    ),
    "principal.set": lambda content: (
        f"{content['kind']} {content['name']}: {', '.join(content['roles']) or 'no role'}"
    ),
    "policy.set": lambda _: "changed the house rules",
    "token.added": lambda content: f"made a token for {content['principal']}",
    "token.revoked": lambda _: "revoked a token",
}
