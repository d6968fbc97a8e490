"""Who acts, and what is theirs to do: people, agents that people own, nodes; roles and limits.

Pure. The kind of a principal is fixed when an administrator makes it, never told by a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from whence_collector.request_card import MICRO_USD


class Kind(StrEnum):
    """What a principal is."""

    HUMAN = "human"
    AGENT = "agent"
    NODE = "node"
    SYSTEM = "system"  # the collector itself: clocks and observed runs


class Role(StrEnum):
    """What a principal may do; each but admin and node holds the ones before it."""

    VIEWER = "viewer"
    MEMBER = "member"
    APPROVER = "approver"
    ADMIN = "admin"
    NODE = "node"


_RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.APPROVER: 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """One who can be held to an act.

    owner: of an agent, the person it acts for. approve_limit_micro_usd: largest budget that an
    approver may agree to, None without limit. spend_cap_micro_usd: of an agent, what its open
    requests may come to, None for the policy's. accounts: "user@host", "*" for any host.
    """

    name: str
    kind: Kind
    roles: frozenset[Role] = frozenset({Role.MEMBER})
    owner: str = ""
    approve_limit_micro_usd: int | None = None
    spend_cap_micro_usd: int | None = None
    accounts: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    disabled: bool = False

    def has(self, role: Role) -> bool:
        """Whether a role is held, by itself or within a higher one."""
        if self.disabled:
            return False
        if role in self.roles:
            return True
        if role not in _RANK:
            return False
        return any(_RANK.get(held, -1) > _RANK[role] for held in self.roles) or (
            role is Role.VIEWER and bool(self.roles)
        )

    @property
    def household(self) -> str:
        """The person behind it: an agent stands for its owner."""
        return self.owner or self.name

    def document(self) -> dict[str, Any]:
        """Return plain values for a record."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **found,
            "kind": self.kind.value,
            "roles": sorted(role.value for role in self.roles),
            "accounts": list(self.accounts),
            "ssh_keys": list(self.ssh_keys),
        }


def principal_of(document: dict[str, Any]) -> Principal:
    """Read a principal back from its record."""
    return Principal(
        **{
            **document,
            "kind": Kind(document["kind"]),
            "roles": frozenset(Role(role) for role in document["roles"]),
            "accounts": tuple(document["accounts"]),
            "ssh_keys": tuple(document["ssh_keys"]),
        }
    )


@dataclass(frozen=True, slots=True)
class Policy:
    """The house rules; changed by administrators, each change a record."""

    two_approvals_above_micro_usd: int = 10_000 * MICRO_USD
    own_agent_limit_micro_usd: int = 0  # nobody approves for an own agent unless a house says so
    agent_spend_cap_micro_usd: int = 1_000 * MICRO_USD
    agent_open_requests: int = 20
    claim_lease_s: int = 3600
    approval_valid_s: int = 14 * 86_400
    signatures_required: bool = False
    # Ends the runs of every request over its budget, where their hosts allow it too.
    enforce_budgets: bool = False
    enforce_projects: str = ""  # the same for these alone, commas between
    enforce_at_percent: int = 100
    checkpoint_signal: str = "SIGUSR1"
    checkpoint_grace_s: int = 300

    def document(self) -> dict[str, Any]:
        """Return plain values for a record."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, and how that is known.

    credential: "account", "token:ID", "socket" or "" for nobody. doubt: why this cannot count as
    the act of a person, "" when it can. origin: what the host saw of the calling process.
    """

    principal: Principal
    credential: str = ""
    doubt: str = ""
    doubt_code: str = ""
    origin: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return what a record says of who acted."""
        found: dict[str, Any] = {"name": self.principal.name, "kind": self.principal.kind.value}
        if self.principal.owner:
            found["owner"] = self.principal.owner
        if self.credential:
            found["credential"] = self.credential
        if self.origin:
            found["origin"] = self.origin
        return found


SYSTEM = Caller(Principal("whence", Kind.SYSTEM, frozenset()), "own")
