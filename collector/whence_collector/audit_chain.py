"""Records that follow each other: every change holds the digest of the one before it.

Pure. An edit changes a digest, a deletion leaves a gap, a reordering breaks a link: `verify` names
the first place. Records cut off at the end are found against a head that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from whence_collector.request_card import canonical

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Draft:
    """A change before it has a place in the chain."""

    action: str
    subject: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One change. number counts from 1; actor and content are plain values."""

    number: int
    at_unix_ns: int
    actor: dict[str, Any]
    action: str
    subject: str
    content: dict[str, Any]
    previous_sha256: str
    sha256: str = ""

    def own_sha256(self) -> str:
        """Return the digest of all of this record but the digest itself."""
        text = canonical(
            {
                "number": self.number,
                "at_unix_ns": self.at_unix_ns,
                "actor": self.actor,
                "action": self.action,
                "subject": self.subject,
                "content": self.content,
                "previous_sha256": self.previous_sha256,
            }
        )
        return hashlib.sha256(text).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes."""

    number: int = 0
    sha256: str = GENESIS


def follow(head: Head, at_unix_ns: int, actor: dict[str, Any], draft: Draft) -> Record:
    """Give a change its place behind the head."""
    record = Record(
        head.number + 1, at_unix_ns, actor, draft.action, draft.subject, draft.content, head.sha256
    )
    return Record(
        record.number,
        at_unix_ns,
        actor,
        draft.action,
        draft.subject,
        draft.content,
        head.sha256,
        record.own_sha256(),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found: the head that stands, and the first fault ("" for none)."""

    head: Head
    fault: str = ""


def verify(records: Iterable[Record], expected: Head | None = None) -> Verdict:
    """Walk a chain from its begin; `expected` is a head that was kept or signed elsewhere.

    The fault names the record: edited, missing, moved, or a chain that no longer holds the head.
    """
    head = Head()
    met = expected is None or expected.number == 0
    for record in records:
        fault = _fault(head, record)
        if fault:
            return Verdict(head, fault)
        head = Head(record.number, record.sha256)
        if expected is not None and head.number == expected.number:
            if head.sha256 != expected.sha256:
                return Verdict(
                    head, f"record {head.number} is not the one whose digest was kept: rewritten"
                )
            met = True
    if not met and expected is not None:
        return Verdict(
            head,
            f"the chain ends at record {head.number}, but record {expected.number} was there: "
            "records were cut off its end",
        )
    return Verdict(head)


def _fault(head: Head, record: Record) -> str:
    if record.number != head.number + 1:
        return (
            f"record {record.number} stands where record {head.number + 1} belongs: "
            "a record is missing or moved"
        )
    if record.previous_sha256 != head.sha256:
        return f"record {record.number} does not follow record {head.number}: one was replaced"
    if record.own_sha256() != record.sha256:
        return f"record {record.number} was edited: its digest is another"
    return ""
