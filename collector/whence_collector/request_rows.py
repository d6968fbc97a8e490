"""Requests and their records as rows of the database, and back. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from whence_collector.audit_chain import Record
from whence_collector.request_card import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.request_book import Request

RECORD_COLUMNS = "number, at_ns, actor_json, action, subject, content_json, previous_sha256, sha256"


def record_columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return records as columns of audit_record."""
    return {
        "number": [each.number for each in records],
        "at_ns": [each.at_unix_ns for each in records],
        "action": [each.action for each in records],
        "subject": [each.subject for each in records],
        "actor_json": [canonical(each.actor).decode() for each in records],
        "content_json": [canonical(each.content).decode() for each in records],
        "previous_sha256": [each.previous_sha256 for each in records],
        "sha256": [each.sha256 for each in records],
    }


def record_of(row: Sequence[Any]) -> Record:
    """Read a row of RECORD_COLUMNS. A text that is no JSON becomes {}: verifying then finds it."""
    number, at_ns, actor, action, subject, content, previous, sha256 = row
    return Record(
        number, at_ns, _object(actor), action, subject, _object(content), previous, sha256
    )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    # Another spelling of the same values would pass for the record: only the one text counts.
    if not isinstance(found, dict) or canonical(found).decode("utf-8", "replace") != text:
        return {}
    return found


def request_columns(requests: Sequence[Request]) -> dict[str, list[Any]]:
    """Return requests as columns of training_request."""
    cards = [each.card for each in requests]
    return {
        "request_id": [each.request_id for each in requests],
        "revision": [each.revision.number for each in requests],
        "state": [each.state.value for each in requests],
        "title": [card.title for card in cards],
        "revision_digest": [each.revision.digest for each in requests],
        "requester": [each.requester for each in requests],
        "requester_kind": [each.requester_kind for each in requests],
        "on_behalf_of": [card.on_behalf_of or None for card in cards],
        "project": [card.project or None for card in cards],
        "rationale": [card.rationale or None for card in cards],
        "gpu_model": [card.compute.gpu_model or None for card in cards],
        "gpu_count": [card.compute.count or None for card in cards],
        "duration_s": [card.compute.duration_s or None for card in cards],
        "budget_micro_usd": [card.budget_micro_usd or None for card in cards],
        "estimate_micro_usd": [each.estimate.get("micro_usd") for each in requests],
        "spent_micro_usd": [each.spent_micro_usd for each in requests],
        "reviewers": [list(card.reviewers) for card in cards],
        "claimed_by": [each.claim.who if each.claim else None for each in requests],
        "filed_ns": [each.filed_unix_ns for each in requests],
        "state_ns": [each.state_unix_ns for each in requests],
        "expires_ns": [card.expires_unix_ns or None for card in cards],
        "superseded_by": [each.superseded_by or None for each in requests],
    }


def decision_columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the reviews among records as columns of request_review."""
    made = [each for each in records if each.action == "request.reviewed"]
    return {
        "request_id": [each.subject for each in made],
        "revision": [each.content["revision"] for each in made],
        "revision_digest": [each.content["digest"] for each in made],
        "who": [each.actor["name"] for each in made],
        "verdict": [each.content["verdict"] for each in made],
        "reason": [each.content["reason"] or None for each in made],
        "at_ns": [each.at_unix_ns for each in made],
        "who_kind": [each.actor["kind"] for each in made],
        "budget_micro_usd": [each.content["budget_micro_usd"] for each in made],
        "signed": ["signature" in each.content for each in made],
    }


def remark_columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return comments and notes among records as columns of request_remark."""
    made = [each for each in records if each.action in ("request.commented", "note.added")]
    return {
        "target": [each.subject for each in made],
        "who": [each.actor["name"] for each in made],
        "who_kind": [each.actor["kind"] for each in made],
        "text": [each.content["text"] for each in made],
        "at_ns": [each.at_unix_ns for each in made],
    }


def run_columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return links among records as columns of request_run."""
    made = [each for each in records if each.action == "request.run"]
    return {
        "request_id": [each.subject for each in made],
        "run_id": [each.content["run"] for each in made],
        "how": [each.content["how"] for each in made],
        "score": [each.content["score"] for each in made],
        "at_ns": [each.at_unix_ns for each in made],
    }
