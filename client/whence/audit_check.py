"""An exported chain, verified where no collector is: digests and order, record by record. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes."""

    number: int = 0
    sha256: str = GENESIS


@dataclass(frozen=True, slots=True)
class Verdict:
    """The head that stands, and the first fault, "" for none."""

    head: Head
    fault: str = ""


def own_sha256(line: Line) -> str:
    """Return the digest that a record should have: of its canonical text without the digest."""
    document = {
        "number": line["number"],
        "at_unix_ns": line["at_unix_ns"],
        "actor": json.loads(line["actor_json"]),
        "action": line["action"],
        "subject": line["subject"],
        "content": json.loads(line["content_json"]),
        "previous_sha256": line["previous_sha256"],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def verify(lines: Iterable[Line], expected: Head | None) -> Verdict:
    """Walk records in the order given; `expected` is a head that was kept elsewhere."""
    head, met = Head(), expected is None or expected.number == 0
    for line in lines:
        try:
            fault = _fault(head, line)
        except (KeyError, ValueError, TypeError):
            fault = f"what follows record {head.number} is no record"
        if fault:
            return Verdict(head, fault)
        head = Head(line["number"], line["sha256"])
        if expected is not None and head.number == expected.number:
            if head != expected:
                return Verdict(head, f"record {head.number} has another digest than was kept")
            met = True
    if not met and expected is not None:
        return Verdict(head, f"it ends at record {head.number}, {expected.number} was there once")
    return Verdict(head)


def _fault(head: Head, line: Line) -> str:
    number = line["number"]
    if number != head.number + 1:
        return f"record {number} stands where {head.number + 1} belongs: one is missing or moved"
    if line["previous_sha256"] != head.sha256:
        return f"record {number} does not follow record {head.number}: one was replaced"
    if own_sha256(line) != line["sha256"]:
        return f"record {number} was edited: its digest is another"
    return ""
