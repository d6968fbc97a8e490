"""The product's requests beside a plain model of them: each act is done to both and compared.

The model restates the promises in the fewest words that can be wrong: who may decide, who holds a
claim, what was said. It shares no code with the rules.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from whence_collector import request_rules as rules
from whence_collector.audit_chain import Draft, Record, follow, verify
from whence_collector.errors import RefusedAct
from whence_collector.principals import Caller, Kind, Policy, Principal, Role
from whence_collector.request_book import Book, State
from whence_collector.request_card import MICRO_USD, Card, Compute

SECOND_NS = 1_000_000_000
POLICY = Policy(
    two_approvals_above_micro_usd=5_000 * MICRO_USD,
    own_agent_limit_micro_usd=100 * MICRO_USD,
    agent_spend_cap_micro_usd=2_000 * MICRO_USD,
    claim_lease_s=60,
    approval_valid_s=600,
    agent_open_requests=10_000,
)
BUDGETS = tuple(usd * MICRO_USD for usd in (50, 99, 984, 1_500, 4_000, 6_000, 20_000))
M = frozenset({Role.MEMBER})
A = frozenset({Role.APPROVER})
PEOPLE = (
    Principal("alice", Kind.HUMAN, A),
    Principal("bob", Kind.HUMAN, A, approve_limit_micro_usd=1_000 * MICRO_USD),
    Principal("carol", Kind.HUMAN, A | {Role.ADMIN}),
    Principal("dan", Kind.HUMAN, M),
    Principal("eve", Kind.HUMAN, A, disabled=True),
    Principal("vic", Kind.HUMAN, frozenset({Role.VIEWER})),
    # An agent that somebody gave an approver's role by mistake is still an agent.
    Principal("alice/bot", Kind.AGENT, A, owner="alice"),
    Principal("dan/bot", Kind.AGENT, M, owner="dan"),
    Principal("gpu-07", Kind.NODE, frozenset({Role.NODE, Role.APPROVER})),
)
READY = (State.APPROVED, State.CLAIMED)
NAMES = tuple(each.name for each in PEOPLE)
VERDICTS = ("approve", "approve", "approve", "reject", "changes", "withdraw")


@dataclass
class Told:
    """What the model remembers of a request."""

    requester: str
    editors: set[str]
    budget: int
    terms: str
    reviewers: tuple[str, ...]
    approvals: dict[str, tuple[str, int]] = field(default_factory=dict)  # who: terms, budget
    holder: str = ""
    holder_until: int = 0
    said: list[str] = field(default_factory=list)

    def valid(self) -> set[str]:
        """Return whose approvals hold for what is asked now."""
        return {
            who
            for who, (terms, budget) in self.approvals.items()
            if terms == self.terms and budget >= self.budget
        }


class Twin:
    """A book and its model, driven by the same acts."""

    def __init__(self) -> None:
        self.book = Book()
        self.records: list[Record] = []
        self.now = 1_700_000_000 * SECOND_NS
        self.told: dict[str, Told] = {}
        self.accepted = dict.fromkeys(("file", "edit", "review", "comment", "claim", "cancel"), 0)
        for each in PEOPLE:
            self._take([Draft("principal.set", each.name, each.document())], {"name": "carol"})
        self._take([Draft("policy.set", "policy", POLICY.document())], {"name": "carol"})

    def _take(self, drafts: list[Draft], actor: dict[str, str]) -> None:
        for draft in drafts:
            record = follow(self.book.head, self.now, actor, draft)
            self.records.append(record)
            self.book.apply(record)

    def _do(self, caller: Caller, drafts: list[Draft]) -> None:
        self._take(drafts, caller.document())

    def pass_time(self, seconds: int) -> None:
        """Let time pass and do what it brings."""
        self.now += seconds * SECOND_NS
        for request in self.book.requests.values():
            while drafts := rules.due(self.book, request, self.now):
                self._take(drafts, {"name": "whence", "kind": "system"})
        for told in self.told.values():
            if told.holder and told.holder_until <= self.now:
                told.holder = ""

    def file(self, caller: Caller, budget: int, reviewers: tuple[str, ...], draft: bool) -> None:
        """File a request."""
        card = Card("t", "r", compute=Compute(8, "H100", 11_520), budget_micro_usd=budget,
                    reviewers=reviewers)  # fmt: skip
        name = self.book.next_request_id()
        try:
            drafts = rules.file(self.book, caller, card, draft=draft, estimate={}, findings=[])
        except RefusedAct:
            return
        self._do(caller, drafts)
        who = caller.principal.name
        self.told[name] = Told(who, {who}, budget, card.terms_digest, reviewers)
        self.accepted["file"] += 1

    def edit(self, caller: Caller, name: str, budget: int, title: str) -> None:
        """Edit a request: another budget, and another title where one is given."""
        card = replace(self.book.requests[name].card, budget_micro_usd=budget)
        if title:
            card = replace(card, title=title)
        try:
            drafts = rules.edit(self.book, caller, name, card, estimate={}, findings=[])
        except RefusedAct:
            return
        self._do(caller, drafts)
        told = self.told[name]
        told.editors.add(caller.principal.name)
        told.budget, told.terms = budget, card.terms_digest
        self.accepted["edit"] += 1

    def review(self, caller: Caller, name: str, verdict: str, digest: str) -> None:
        """Decide; an approval that was accepted has to be one that the model allows."""
        try:
            drafts = rules.review(self.book, caller, name, verdict, digest, "because")
        except RefusedAct:
            return
        told, who = self.told[name], caller.principal
        if verdict == "approve":
            assert self.forbidden(caller, name, digest) == "", (who.name, name)
            told.approvals[who.name] = (told.terms, told.budget)
        else:
            told.approvals.pop(who.name, None)
        self._do(caller, drafts)
        self.accepted["review"] += 1

    def forbidden(self, caller: Caller, name: str, digest: str) -> str:
        """Say why an approval must never count; "" where it may."""
        who, told, request = caller.principal, self.told[name], self.book.requests[name]
        owner = next((p.owner for p in PEOPLE if p.name == told.requester), "")
        owners = {p.owner for p in PEOPLE if p.name in told.editors} | {owner}
        checks = {
            "no person": who.kind is not Kind.HUMAN or caller.doubt != "" or not caller.credential,
            "own": who.name in told.editors or who.name == told.requester,
            "own agent": who.name in owners and told.budget > POLICY.own_agent_limit_micro_usd,
            "limit": who.approve_limit_micro_usd is not None
            and told.budget > who.approve_limit_micro_usd,
            "role": Role.APPROVER not in who.roles or who.disabled,
            "not asked": who.name not in told.reviewers,
            "stale": digest != request.revision.digest,
        }
        return next((why for why, holds in checks.items() if holds), "")

    def comment(self, caller: Caller, name: str, text: str) -> None:
        """Say something."""
        try:
            drafts = rules.comment(self.book, caller, name, text)
        except RefusedAct:
            return
        self._do(caller, drafts)
        self.told[name].said.append(text)
        self.accepted["comment"] += 1

    def claim(self, caller: Caller, name: str) -> None:
        """Claim; nobody else may hold it, and it must be approved enough."""
        told, who = self.told[name], caller.principal.name
        claim_id = f"{name}-{len(self.records)}"
        try:
            drafts = rules.claim(self.book, caller, name, claim_id, "gpu-07", self.now)
        except RefusedAct:
            return
        assert told.holder in ("", who), f"{name} is held by {told.holder}, then given to {who}"
        needed = 2 if told.budget > POLICY.two_approvals_above_micro_usd else 1
        assert len(told.valid()) >= needed, f"{name} claimed with {told.valid()} of {needed}"
        self._do(caller, drafts)
        told.holder, told.holder_until = who, self.now + POLICY.claim_lease_s * SECOND_NS
        self.accepted["claim"] += 1

    def cancel(self, caller: Caller, name: str) -> None:
        """Cancel."""
        try:
            drafts = rules.cancel(self.book, caller, name, "no longer")
        except RefusedAct:
            return
        self._do(caller, drafts)
        self.told[name].holder = ""
        self.accepted["cancel"] += 1

    def check(self) -> None:
        """Everything that must hold at any time."""
        approved = (State.APPROVED, State.CLAIMED, State.RUNNING)
        for name, request in self.book.requests.items():
            told = self.told[name]
            assert [comment.text for comment in request.comments] == told.said
            if request.state in approved:
                needed = 2 if told.budget > POLICY.two_approvals_above_micro_usd else 1
                assert len(told.valid()) >= needed
            assert (request.claim is not None) == (request.state in approved[1:])
        for bot in (each for each in PEOPLE if each.kind is Kind.AGENT):
            assert (
                sum(
                    request.card.budget_micro_usd
                    for request in self.book.requests.values()
                    if request.requester == bot.name and request.state in approved
                )
                <= POLICY.agent_spend_cap_micro_usd
            )

    def check_chain(self) -> None:
        """The records alone give the same book, and follow each other."""
        verdict = verify(self.records, self.book.head)
        assert verdict.fault == ""
        again = Book()
        for record in self.records:
            again.apply(record)
        assert again.requests == self.book.requests


def caller_of(number: int, doubtful: bool) -> Caller:
    """Return one of the people, agents and nodes; some callers prove nothing."""
    doubt = "an agent stands between" if doubtful else ""
    return Caller(PEOPLE[number % len(PEOPLE)], "account", doubt, "ancestry" if doubtful else "")


def step(twin: Twin, chance: random.Random) -> None:
    """Do one random act of a random principal to a random request."""
    act = chance.randrange(20)
    caller = caller_of(chance.randrange(len(PEOPLE)), chance.random() < 0.2)
    if act == 0 or not twin.told:
        reviewers = tuple(chance.sample(NAMES, chance.randint(1, 4)))
        twin.file(caller, chance.choice(BUDGETS), reviewers, chance.random() < 0.1)
        return
    names = list(twin.told)
    name = chance.choice(names[-6:] if chance.random() < 0.8 else names)
    request = twin.book.requests[name]
    if act < 3:
        twin.edit(caller, name, chance.choice(BUDGETS), chance.choice(("", "", "another")))
    elif act < 12:
        stale = chance.choice(request.revisions).digest
        twin.review(caller, name, chance.choice(VERDICTS), stale)
    elif act < 14:
        twin.comment(caller, name, f"word {len(twin.records)}")
    elif act < 17:
        ready = [each for each in names[-30:] if twin.book.requests[each].state in READY]
        twin.claim(caller, chance.choice(ready) if ready else name)
    elif act < 18:
        twin.cancel(caller, name)
    elif act < 19:
        twin.pass_time(chance.choice((1, 30, 61, 700)))
    elif request.state is State.DRAFT:
        try:
            twin._do(caller, rules.submit(twin.book, caller, name))
        except RefusedAct:
            return
