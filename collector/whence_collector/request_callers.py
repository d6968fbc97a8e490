"""From what a call shows (ticket, token, socket) to who makes it. Decides no act.

The kind of a caller comes from the principal that an administrator made, or from what the probes
saw; nothing that a message says of its sender is believed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from whence_collector.errors import RefusedAct
from whence_collector.person_rules import judge
from whence_collector.principals import Caller, Kind, Principal, Role
from whence_collector.vouching import Vouching, seen_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whence_collector.person_rules import Judgement
    from whence_collector.request_book import Book

NOBODY = Caller(Principal("", Kind.HUMAN, frozenset()))
# Whoever may open the collector's own socket could change its files as well.
ADMINISTRATOR = Principal("administrator", Kind.SYSTEM, frozenset({Role.ADMIN, Role.MEMBER}))
TICKET, AUTHORIZATION = "whence-ticket-bin", "authorization"


class Callers:
    """Tells who calls."""

    def __init__(
        self, vouching: Vouching, clock: Callable[[], int], *, on_socket: bool = False
    ) -> None:
        self._vouching, self._clock, self._on_socket = vouching, clock, on_socket

    def of(self, book: Book, metadata: Iterable[tuple[str, Any]], peer: str) -> Caller:
        """Return the caller, NOBODY for one that shows nothing; RefusedAct for a bad proof."""
        shown = dict(metadata)
        ticket, token = shown.get(TICKET), _bearer(shown)
        judged = self._judged(ticket) if ticket else None
        if self._on_socket:
            return self._administrator(judged)
        principal = self._of_token(book, token) if token else None
        if judged is not None:
            return _on_host(book, judged, principal)
        if principal is None:
            return NOBODY
        return self._from_afar(principal, token, peer)

    def _administrator(self, judged: tuple[str, Judgement, dict[str, Any]] | None) -> Caller:
        if judged is None:
            return Caller(ADMINISTRATOR, "socket")
        _, judgement, origin = judged
        if judgement.agent:
            raise RefusedAct("agent", f"{judgement.agent} is an agent: people manage principals")
        return Caller(ADMINISTRATOR, "socket", origin=origin)

    def _judged(self, ticket: bytes) -> tuple[str, Judgement, dict[str, Any]]:
        statement = self._vouching.statement(ticket)
        ancestry = [seen_of(each) for each in statement.ancestry]
        judgement = judge(ancestry, statement.own_addresses, self._vouching.node_addresses)
        return statement.host, judgement, judgement.document(statement.host, ancestry)

    def _of_token(self, book: Book, token: str) -> Principal:
        sha256 = token_sha256(token)
        found = None
        # Every token is compared, in constant time: how long it takes tells nothing.
        for each in book.tokens.values():
            if hmac.compare_digest(each.sha256, sha256):
                found = each
        expired = found is not None and found.expires_unix_ns <= self._clock()
        principal = book.principals.get(found.principal) if found is not None else None
        if found is None or found.revoked or expired or principal is None:
            raise RefusedAct(
                "token", "the token is not known, or expired; ask an administrator for another"
            )
        return principal

    def _from_afar(self, principal: Principal, token: str, peer: str) -> Caller:
        credential = f"token:{token_sha256(token)[:8]}"
        if principal.kind is Kind.HUMAN and self._vouching.is_observed(peer):
            doubt = (
                "a token alone shows no person on an observed host, where a program may have read "
                "it: type the decision in a log-in there, or decide from your own machine"
            )
            return Caller(principal, credential, doubt, "ancestry", {"peer": peer})
        return Caller(principal, credential, origin={"peer": peer})


def _on_host(
    book: Book, judged: tuple[str, Judgement, dict[str, Any]], shown: Principal | None
) -> Caller:
    host, judgement, origin = judged
    person = shown or person_of(book, judgement.user, host)
    if judgement.agent:
        if person.kind is Kind.AGENT:
            return Caller(person, "account", origin=origin)
        agent = agent_of(book, person, judgement.agent)
        return Caller(agent, "account", judgement.doubt, "agent", origin)
    return Caller(person, "account", judgement.doubt, judgement.doubt_code, origin)


def person_of(book: Book, user: str, host: str) -> Principal:
    """Return whose account it is; an account that nobody was given to is a member of its own."""
    account = f"{user}@{host}"
    for principal in book.principals.values():
        if principal.kind is Kind.HUMAN and any(
            fnmatchcase(account, pattern) for pattern in principal.accounts
        ):
            return principal
    return Principal(account, Kind.HUMAN, frozenset({Role.MEMBER}))


def agent_of(book: Book, person: Principal, agent: str) -> Principal:
    """Return an agent that works under a person's account, known by itself or by its name."""
    name = f"{person.name}/{agent}"
    known = book.principals.get(name)
    if known is not None and known.kind is Kind.AGENT:
        return known
    return Principal(name, Kind.AGENT, frozenset({Role.MEMBER}), owner=person.name)


def token_sha256(token: str) -> str:
    """Return what is stored of a token: it is random, so a plain digest is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def _bearer(shown: Mapping[str, Any]) -> str:
    text = str(shown.get(AUTHORIZATION, ""))
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
