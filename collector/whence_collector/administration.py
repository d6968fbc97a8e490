"""The part of the servicer that manages principals, tokens and house rules, and knows callers."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from whence_collector.audit_chain import Draft
from whence_collector.errors import InvalidRequest, NotFound, RefusedAct
from whence_collector.principals import Policy, Role
from whence_collector.request_callers import token_sha256
from whence_collector.request_check import LEAST_PERCENT, MOST_PERCENT, SIGNALS
from whence_collector.request_ledger import named
from whence_collector.request_messages import (
    policy_changes,
    policy_message,
    principal_from,
    principal_message,
)
from whence_collector.request_rules import require
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from whence_collector.principals import Caller, Principal
    from whence_collector.request_book import Book
    from whence_collector.request_callers import Callers
    from whence_collector.request_ledger import RequestLedger

    Context = grpc.aio.ServicerContext[Any, Any]

TOKEN_VALID_S = 90 * 86_400
SECOND_NS = 1_000_000_000

Reply = TypeVar("Reply")

# ruff: noqa: N802 -- gRPC names the methods


class Administration:
    """Principals, tokens, policy."""

    def __init__(self, ledger: RequestLedger, callers: Callers, clock: Callable[[], int]) -> None:
        self._ledger, self._callers, self._clock = ledger, callers, clock

    async def _answer(self, context: Context, work: Callable[[Caller], Reply]) -> Reply:
        """Work for a call, on a thread, as whoever makes it."""
        metadata = tuple(context.invocation_metadata() or ())
        peer = context.peer()

        def answer() -> Reply:
            caller = self._ledger.read(lambda book: self._callers.of(book, metadata, peer))
            return work(caller)

        return await asyncio.to_thread(answer)

    async def SetPrincipal(self, request: wire.Principal, context: Context) -> wire.Principal:
        """Make or change a principal; its kind stays what it was made."""
        principal = principal_from(request)

        def work(caller: Caller) -> wire.Principal:
            def decide(book: Book, _now: int) -> list[Draft]:
                _administrator(caller, "manage principals")
                _kind_stays(book, principal)
                _owner_is_a_person(book, principal)
                return [Draft("principal.set", principal.name, principal.document())]

            self._ledger.act(caller, named("manage principals", principal.name, decide))
            return principal_message(principal)

        return await self._answer(context, work)

    async def ListPrincipals(
        self, request: wire.ListPrincipalsRequest, context: Context
    ) -> wire.ListPrincipalsReply:
        """Everybody, by name. To agents no limit is told: it would only be used up to the cent."""

        def work(caller: Caller) -> wire.ListPrincipalsReply:
            found = self._ledger.read(lambda book: sorted(book.principals.items()))
            reply = wire.ListPrincipalsReply(
                principals=[principal_message(each) for _, each in found]
            )
            if not caller.principal.has(Role.ADMIN):
                for each in reply.principals:
                    each.ClearField("approve_limit_micro_usd")
            return reply

        return await self._answer(context, work)

    async def AddToken(self, request: wire.AddTokenRequest, context: Context) -> wire.AddTokenReply:
        """Make a token: shown once, stored by its digest."""
        token, token_id = f"wht_{secrets.token_urlsafe(32)}", f"T-{secrets.token_hex(4)}"
        valid_s = request.valid_s or TOKEN_VALID_S

        def work(caller: Caller) -> wire.AddTokenReply:
            def decide(book: Book, now: int) -> list[Draft]:
                _administrator(caller, "make tokens")
                if request.principal not in book.principals:
                    raise NotFound(f"no principal {request.principal} is known; add it first")
                content = {
                    "principal": request.principal,
                    "sha256": token_sha256(token),
                    "expires_unix_ns": now + valid_s * SECOND_NS,
                }
                return [Draft("token.added", token_id, content)]

            records = self._ledger.act(caller, named("make tokens", request.principal, decide))
            until = records[-1].content["expires_unix_ns"]
            return wire.AddTokenReply(token_id=token_id, token=token, expires_unix_ns=until)

        return await self._answer(context, work)

    async def RevokeToken(
        self, request: wire.RevokeTokenRequest, context: Context
    ) -> wire.RevokeTokenReply:
        """Make a token worthless, at once."""

        def work(caller: Caller) -> wire.RevokeTokenReply:
            def decide(book: Book, _now: int) -> list[Draft]:
                _administrator(caller, "revoke tokens")
                if request.token_id not in book.tokens:
                    raise NotFound(f"no token {request.token_id} is known")
                return [Draft("token.revoked", request.token_id, {})]

            self._ledger.act(caller, named("revoke tokens", request.token_id, decide))
            return wire.RevokeTokenReply()

        return await self._answer(context, work)

    async def SetPolicy(self, request: wire.PolicyRequest, context: Context) -> wire.PolicyReply:
        """Change the house rules; with none given, tell them."""
        changes = policy_changes(request)

        def work(caller: Caller) -> wire.PolicyReply:
            if changes:
                self._ledger.act(
                    caller, named("change the house rules", "policy", _policy(caller, changes))
                )
            return wire.PolicyReply(
                policy=self._ledger.read(lambda book: policy_message(book.policy))
            )

        return await self._answer(context, work)


def _policy(caller: Caller, changes: dict[str, Any]) -> Callable[[Book, int], list[Draft]]:
    def decide(book: Book, _now: int) -> list[Draft]:
        _administrator(caller, "change the house rules")
        if any(isinstance(value, int) and value < 0 for value in changes.values()):
            raise InvalidRequest("a rule cannot be negative; correct it")
        wrong = changes.get("checkpoint_signal")
        if wrong and wrong not in SIGNALS:
            raise InvalidRequest(f"{wrong!r} cannot ask for a checkpoint; give SIGUSR1 or SIGUSR2")
        percent = changes.get("enforce_at_percent", LEAST_PERCENT)
        if not LEAST_PERCENT <= percent <= MOST_PERCENT:
            raise InvalidRequest(
                f"{percent} % is no share at which to end; give {LEAST_PERCENT} to {MOST_PERCENT}"
            )
        policy = Policy(**{**book.policy.document(), **changes})
        return [Draft("policy.set", "policy", policy.document())]

    return decide


def _administrator(caller: Caller, act: str) -> None:
    require(caller, Role.ADMIN, act)
    if caller.doubt:
        raise RefusedAct(caller.doubt_code or "ancestry", caller.doubt)


def _kind_stays(book: Book, principal: Principal) -> None:
    known = book.principals.get(principal.name)
    if known is not None and known.kind is not principal.kind:
        raise RefusedAct(
            "kind",
            f"{principal.name} is {known.kind.value} and stays so; make another principal instead",
        )


def _owner_is_a_person(book: Book, principal: Principal) -> None:
    if not principal.owner:
        return
    owner = book.principals.get(principal.owner)
    if owner is not None and owner.kind.value != "human":
        raise RefusedAct("owner", f"{principal.owner} is no person; an agent is owned by a person")
