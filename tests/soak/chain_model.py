"""What a chain of records must never hold: the promises in the fewest words. Shares no code.

It walks records as anybody could who was given an export: who is a person, who wrote what, whose
approval holds, who has the claim. An assertion names the record that breaks a promise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Asked:
    """A request as the records tell it."""

    requester: str
    household: str
    card: dict[str, Any]
    digest: str
    editors: set[str]
    state: str = ""
    approvals: dict[str, tuple[str, int]] = field(default_factory=dict)
    holder: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def terms(self) -> str:
        """All of the card but its budget."""
        return json.dumps({k: v for k, v in self.card.items() if k != "budget_micro_usd"})

    @property
    def budget(self) -> int:
        """The cap."""
        return int(self.card["budget_micro_usd"])

    def valid(self) -> int:
        """How many approvals hold for what is asked now."""
        return sum(
            terms == self.terms and budget >= self.budget
            for terms, budget in self.approvals.values()
        )


class ChainModel:
    """Takes record after record; AssertionError at the first that may not be there."""

    def __init__(self, *, own_agent_limit: int, two_above: int) -> None:
        self._own_agent_limit, self._two_above = own_agent_limit, two_above
        self._people: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, Asked] = {}
        self.claims: set[str] = set()
        self.approvals = self.refused = 0

    def take(self, line: Mapping[str, Any]) -> None:
        """Follow one record, as `audit export` writes it."""
        actor, content = json.loads(line["actor_json"]), json.loads(line["content_json"])
        action, subject = line["action"], line["subject"]
        if action == "principal.set":
            self._people[subject] = content
        elif action == "refused":
            self.refused += 1
        elif action == "request.filed":
            self._filed(subject, actor, content)
        elif subject in self.requests:
            self._of_request(self.requests[subject], action, actor, content)

    def _filed(self, name: str, actor: dict[str, Any], content: dict[str, Any]) -> None:
        assert name not in self.requests, f"{name} was filed twice"
        who = actor["name"]
        self.requests[name] = Asked(
            who, actor.get("owner") or who, content["card"], content["digest"], {who},
            content["state"],
        )  # fmt: skip

    def _of_request(
        self, asked: Asked, action: str, actor: dict[str, Any], content: dict[str, Any]
    ) -> None:
        if action == "request.edited":
            asked.card, asked.digest = content["card"], content["digest"]
            asked.editors.add(actor["name"])
        elif action == "request.reviewed":
            self._reviewed(asked, actor, content)
        elif action == "request.commented":
            asked.said.append(content["text"])
        elif action in ("request.claimed", "request.renewed"):
            self._claimed(asked, action, actor, content)
        asked.state = content.get("state", asked.state)
        if asked.state not in ("claimed", "running"):
            asked.holder = ""
        if asked.state in ("approved", "claimed", "running"):
            needed = 2 if asked.budget > self._two_above else 1
            assert asked.valid() >= needed, f"{asked.state} with {asked.valid()} of {needed}"

    def _reviewed(self, asked: Asked, actor: dict[str, Any], content: dict[str, Any]) -> None:
        who = actor["name"]
        assert content["digest"] == asked.digest, f"{who} decided on what nobody asks any more"
        if content["verdict"] != "approve":
            asked.approvals.pop(who, None)
            return
        known = self._people.get(who, {})
        assert actor["kind"] == "human", f"{who} is no person"
        assert "agent" not in actor.get("origin", {}), f"an agent typed the approval of {who}"
        assert "approver" in known.get("roles", ()), f"{who} is no approver"
        assert who in asked.card["reviewers"], f"{who} was not asked"
        assert who != asked.requester, f"{who} approved an own request"
        assert who not in asked.editors, f"{who} approved own words"
        assert who != asked.household or asked.budget <= self._own_agent_limit, f"{who}: own agent"
        limit = known.get("approve_limit_micro_usd")
        assert limit is None or asked.budget <= limit, f"{who} is above the own limit"
        asked.approvals[who] = (asked.terms, asked.budget)
        self.approvals += 1

    def _claimed(
        self, asked: Asked, action: str, actor: dict[str, Any], content: dict[str, Any]
    ) -> None:
        who = actor["name"]
        expected = "" if action == "request.claimed" else who
        assert asked.holder == expected, f"held by {asked.holder}, given to {who}"
        asked.holder = who
        self.claims.add(content["claim"])
