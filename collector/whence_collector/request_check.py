"""A card before it is filed: what is missing, implausible or unknown, field by field.

Pure: what the registry, the price book and the principals know is asked through `Known`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from whence_collector.approval_rules import needed
from whence_collector.principals import Kind, Role
from whence_collector.request_card import HOUR_S, usd_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whence_collector.principals import Principal
    from whence_collector.request_book import Book
    from whence_collector.request_card import Card, DataRef

DIGEST = re.compile(r"(blake3:|sha256:|tree:)?[0-9a-f]{6,64}")
COMMIT = re.compile(r"[0-9a-f]{7,64}")
MOST_GPUS, LONGEST_S = 16_384, 180 * 24 * HOUR_S
TEXT_MOST = 16 << 10
LEAST_PERCENT, MOST_PERCENT = 50, 200
LONGEST_GRACE_S = 86_400
SIGNALS = frozenset(
    ("SIGUSR1", "SIGUSR2", "SIGINT", "SIGHUP", "SIGTERM", "SIGCONT", "SIGALRM", "SIGXCPU")
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one field; an error stands in the way of filing."""

    field: str
    severity: str
    code: str
    text: str

    def document(self) -> dict[str, Any]:
        """Return plain values for a record."""
        return {
            "field": self.field,
            "severity": self.severity,
            "code": self.code,
            "text": self.text,
        }


class Known(Protocol):
    """What is known outside of requests."""

    def contents(self, digest: str) -> list[str]:
        """Return the full digests that begin so, two at most."""

    def is_test_set(self, digest: str) -> str:
        """Return how a content is labelled as test data, "" where it is not."""

    def has_commit(self, commit: str) -> bool:
        """Whether a run was ever seen at that commit."""

    def earlier_runs(self, card: Card) -> list[str]:
        """Return sentences about runs that did the same already."""


def _error(field: str, code: str, text: str) -> Finding:
    return Finding(field, "error", code, text)


def _warning(field: str, code: str, text: str) -> Finding:
    return Finding(field, "warning", code, text)


def check(card: Card, book: Book, requester: Principal, known: Known, now: int) -> list[Finding]:
    """Return everything to say of a card, errors first."""
    findings = [
        *_missing(card),
        *_compute(card),
        *_references(card, known),
        *_code(card, known),
        *_reviewers(card, book, requester),
        *_times(card, now),
        *_end(card),
        *(Finding("card", "notice", "earlier", text) for text in known.earlier_runs(card)),
    ]
    order = {"error": 0, "warning": 1, "notice": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


def _missing(card: Card) -> Iterator[Finding]:
    wanted = {
        "title": (card.title, "say in one line what is to be trained"),
        "rationale": (card.rationale, "say why, and which decision it informs"),
        "reviewers": (card.reviewers, "name at least one person who is to decide"),
        "budget": (card.budget_micro_usd > 0, "give the most that it may cost, such as 984.00"),
        "compute.count": (card.compute.count, "say how many GPUs"),
        "compute.gpu_model": (card.compute.gpu_model, "name the GPU model, such as H100"),
        "compute.hours": (card.compute.duration_s, "say for how many hours"),
    }
    for field, (value, remedy) in wanted.items():
        if not (value.strip() if isinstance(value, str) else value):
            yield _error(field, "missing", f"{field} is missing; {remedy}")
    softly = {
        "datasets": (card.datasets, "name what it reads, with the digest"),
        "code.commit": (card.commit, "pin the commit that is to run"),
        "expected_outcome": (card.expected_outcome, "say what should come out"),
    }
    for field, (value, remedy) in softly.items():
        if not value:
            yield _warning(field, "missing", f"{field} is not given; {remedy}")
    for field in ("title", "rationale", "expected_outcome", "stop_criteria", "command"):
        if len(getattr(card, field)) > TEXT_MOST:
            yield _error(field, "long", f"{field} is longer than {TEXT_MOST} letters; link to it")


def _compute(card: Card) -> Iterator[Finding]:
    compute = card.compute
    if compute.count > MOST_GPUS:
        yield _error(
            "compute.count", "implausible", f"{compute.count} GPUs are more than {MOST_GPUS}"
        )
    if compute.duration_s > LONGEST_S:
        yield _error("compute.hours", "implausible", "that is longer than 180 days; split it")
    gpu_seconds = compute.gpu_seconds
    if card.budget_micro_usd > 0 and gpu_seconds > 0:
        rate = card.budget_micro_usd * HOUR_S // gpu_seconds
        if not 10_000 <= rate <= 1_000_000_000:
            yield _warning(
                "budget",
                "implausible",
                f"the budget comes to {usd_text(rate)} for a GPU-hour; check hours, count, budget",
            )


def _references(card: Card, known: Known) -> Iterator[Finding]:
    for number, dataset in enumerate(card.datasets):
        field = f"datasets[{number}]"
        yield from _reference(field, dataset, known)
        if dataset.digest and (label := known.is_test_set(dataset.digest)):
            yield _warning(
                f"{field}.digest",
                "test-set",
                f"{dataset.name or dataset.uri} overlaps {label}: training on it spoils the test",
            )
    if card.base_model.name or card.base_model.uri or card.base_model.digest:
        yield from _reference("base_model", card.base_model, known)


def _reference(field: str, ref: DataRef, known: Known) -> Iterator[Finding]:
    name = ref.name or ref.uri or ref.digest
    if not (ref.name or ref.uri):
        yield _error(f"{field}.name", "missing", f"{field} has neither name nor uri; give one")
    if not ref.digest:
        yield _warning(
            f"{field}.digest",
            "missing",
            f"{name} has no digest, so nobody can tell later whether it was this one; "
            "`whence PATH` prints it",
        )
        return
    if not DIGEST.fullmatch(ref.digest):
        yield _error(
            f"{field}.digest",
            "malformed",
            f"{ref.digest!r} is no digest; give blake3: and its digits, or 6 digits or more",
        )
        return
    found = known.contents(ref.digest)
    if not found:
        yield _warning(
            f"{field}.digest",
            "unknown",
            f"no run has read or written {name} at {ref.digest} so far; check the digest",
        )
    elif len(found) > 1:
        yield _warning(
            f"{field}.digest", "ambiguous", f"{ref.digest} fits several contents; give more digits"
        )


def _code(card: Card, known: Known) -> Iterator[Finding]:
    if not card.commit:
        return
    if not COMMIT.fullmatch(card.commit):
        yield _error(
            "code.commit", "malformed", f"{card.commit!r} is no commit; give 7 to 64 hex digits"
        )
    elif not known.has_commit(card.commit):
        yield _warning(
            "code.commit", "unknown", f"no run was seen at commit {card.commit} so far; check it"
        )


def _reviewers(card: Card, book: Book, requester: Principal) -> Iterator[Finding]:
    able = 0
    for name in card.reviewers:
        reviewer = book.principals.get(name)
        if reviewer is None:
            yield _error("reviewers", "unknown", f"{name} is not known; an administrator adds them")
        elif reviewer.kind is not Kind.HUMAN:
            yield _error("reviewers", "agent", f"{name} is no person: only people decide")
        elif not reviewer.has(Role.APPROVER):
            yield _error("reviewers", "role", f"{name} is no approver; name somebody who is")
        elif name == requester.name:
            yield _error("reviewers", "self", "nobody decides on their own request; name another")
        elif name == requester.owner and (
            card.budget_micro_usd > book.policy.own_agent_limit_micro_usd
        ):
            yield _error(
                "reviewers", "own-agent", f"{name} owns {requester.name}; name somebody else"
            )
        else:
            able += 1
    if card.reviewers and 0 < able < needed(book.policy, card):
        yield _error(
            "reviewers",
            "few",
            f"a budget of {usd_text(card.budget_micro_usd)} takes two approvals; name two",
        )


def _times(card: Card, now: int) -> Iterator[Finding]:
    if card.expires_unix_ns and card.expires_unix_ns <= now:
        yield _error("expires", "past", "the expiry is in the past; give a later time")


def _end(card: Card) -> Iterator[Finding]:
    own = card.budget_end
    if own is None:
        return
    if own.at_percent and not LEAST_PERCENT <= own.at_percent <= MOST_PERCENT:
        yield _error(
            "enforce.at", "implausible",
            f"{own.at_percent} % is no share at which to end; give {LEAST_PERCENT} to "
            f"{MOST_PERCENT}",
        )  # fmt: skip
    if own.checkpoint_signal and own.checkpoint_signal not in SIGNALS:
        yield _error(
            "enforce.signal", "unknown",
            f"{own.checkpoint_signal!r} cannot ask for a checkpoint; give SIGUSR1, SIGUSR2, SIGINT",
        )  # fmt: skip
    if own.grace_s is not None and own.grace_s > LONGEST_GRACE_S:
        yield _error("enforce.grace", "implausible", "more than a day of grace is no end")
