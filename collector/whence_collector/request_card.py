"""What a training request asks for: the card, its canonical text, and the digest of that text.

Pure. Money is whole micro-dollars, time whole seconds or Unix nanoseconds: no float ever enters a
digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

SCHEMA = "whence.request/1"
MICRO_USD = 1_000_000
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class DataRef:
    """A dataset or base model: what people call it, where it is, which content it is.

    digest: as it was given, "blake3:" and 64 digits or a prefix of 6 or more; "" when not given.
    """

    name: str = ""
    uri: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Compute:
    """GPUs times model times hours."""

    count: int = 0
    gpu_model: str = ""
    duration_s: int = 0

    @property
    def gpu_seconds(self) -> int:
        """GPU-seconds in all."""
        return self.count * self.duration_s


@dataclass(frozen=True, slots=True)
class BudgetEnd:
    """That runs are to be ended when the budget is spent.

    at_percent: 0 is 100. checkpoint_signal: "" is that of the house rules, as is a grace_s of None.
    """

    at_percent: int = 0
    checkpoint_signal: str = ""
    grace_s: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that a reviewer agrees to; "" and 0 stand for what was left out."""

    title: str = ""
    rationale: str = ""
    project: str = ""
    datasets: tuple[DataRef, ...] = ()
    base_model: DataRef = DataRef()
    repository: str = ""
    commit: str = ""
    command: str = ""
    compute: Compute = Compute()
    budget_micro_usd: int = 0
    reviewers: tuple[str, ...] = ()
    on_behalf_of: str = ""
    expires_unix_ns: int = 0  # not after: when to run it is no longer wanted
    expected_outcome: str = ""
    stop_criteria: str = ""
    supersedes: str = ""
    labels: tuple[tuple[str, str], ...] = field(default=())
    budget_end: BudgetEnd | None = None

    @property
    def digest(self) -> str:
        """What an approval binds to: "sha256:" of the canonical text."""
        return sha256_of(self.document())

    @property
    def terms_digest(self) -> str:
        """Digest of all but the budget: a lower budget leaves it as it is."""
        return sha256_of(replace(self, budget_micro_usd=0).document())

    def document(self) -> dict[str, Any]:
        """Return the card as plain values, with the name of its form."""
        fields_of = asdict(self)
        if self.budget_end is None:  # cards of before it was there keep their digest
            del fields_of["budget_end"]
        return {"schema": SCHEMA, **fields_of}

    def narrows(self, older: Card) -> bool:
        """Whether this asks for the same as an older card with a lower budget."""
        return (
            self.terms_digest == older.terms_digest
            and 0 < self.budget_micro_usd < older.budget_micro_usd
        )


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the one text of a document of integers, texts, lists and mappings (RFC 8785 order)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def sha256_of(document: Mapping[str, Any]) -> str:
    """Return the digest of a document's canonical text."""
    return f"sha256:{hashlib.sha256(canonical(document)).hexdigest()}"


def card_of(document: Mapping[str, Any]) -> Card:
    """Read a card back from its document; a form that we do not know is a KeyError."""
    if document["schema"] != SCHEMA:
        raise KeyError(document["schema"])
    plain = {f.name: document[f.name] for f in fields(Card) if f.name in document}
    plain["datasets"] = tuple(DataRef(**each) for each in plain["datasets"])
    plain["base_model"] = DataRef(**plain["base_model"])
    plain["compute"] = Compute(**plain["compute"])
    plain["reviewers"] = tuple(plain["reviewers"])
    plain["labels"] = tuple((name, value) for name, value in plain["labels"])
    if plain.get("budget_end") is not None:
        plain["budget_end"] = BudgetEnd(**plain["budget_end"])
    return Card(**plain)


def changed_fields(older: Card, newer: Card) -> tuple[str, ...]:
    """Name the fields in which two cards differ."""
    return tuple(f.name for f in fields(Card) if getattr(older, f.name) != getattr(newer, f.name))


def usd_text(micro_usd: int) -> str:
    """Return money as people write it: "$984.00", more digits only where they say something."""
    sign, amount = ("-" if micro_usd < 0 else ""), abs(micro_usd)
    whole, rest = divmod(amount, MICRO_USD)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"
