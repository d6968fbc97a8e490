"""`whence-collector principal|token|policy …`: who may do what, told on the administrator's socket.

The running collector does it, so that each change is a record of its chain.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import grpc

from whence_collector import admin
from whence_collector.chore_options import chore_parser, settings_of
from whence_collector.errors import CollectorError, InvalidRequest, StorageUnavailable
from whence_collector.request_callers import TICKET
from whence_collector.request_card import MICRO_USD, usd_text
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1.request_pb2_grpc import RequestsStub

SOCKETS = Path("/run/whence-vouch")
TIMEOUT_S = 30.0
DAY_S = 86_400


def principal(words: Sequence[str]) -> None:
    """Make or change people, agents and nodes, or list them."""
    parser = chore_parser("principal", "Make or change a principal, or list all.")
    acts = parser.add_subparsers(dest="act", required=True)
    add = acts.add_parser("add", help="make one, or change what is given")
    add.add_argument("name")
    add.add_argument("--kind", choices=("human", "agent", "node"), help="needed for a new one")
    add.add_argument("--role", action="append", dest="roles", help="viewer, member, approver, …")
    add.add_argument("--owner", help="of an agent: the person it acts for")
    add.add_argument("--limit", type=_usd, metavar="USD", help="largest budget that it may approve")
    add.add_argument("--cap", type=_usd, metavar="USD", help="what an agent's requests may come to")
    add.add_argument("--account", action="append", dest="accounts", metavar="USER@HOST")
    add.add_argument("--ssh-key", action="append", dest="ssh_keys", metavar="'TYPE KEY'")
    add.add_argument("--disable", action="store_true", help="it may do nothing any more")
    acts.add_parser("list", help="all of them")
    options = parser.parse_args(words)
    found = {each.name: each for each in _ask(options, "ListPrincipals").principals}
    if options.act == "list":
        for each in found.values():
            print(_words(each))
        return
    known = found.get(options.name) or wire.Principal(name=options.name, roles=("member",))
    print(_words(_ask(options, "SetPrincipal", _changed(known, options))))


def _changed(principal: wire.Principal, options: argparse.Namespace) -> wire.Principal:
    if options.kind:
        principal.kind = options.kind
    if not principal.kind:
        raise InvalidRequest(f"{options.name} is new; give --kind human, agent or node")
    if options.roles is None and principal.kind == "node":
        options.roles = ["node"]
    for name in ("roles", "accounts", "ssh_keys"):
        given = getattr(options, name)
        if given is not None:
            principal.ClearField(name)
            getattr(principal, name).extend(given)
    if options.owner is not None:
        principal.owner = options.owner
    if options.limit is not None:
        principal.approve_limit_micro_usd = options.limit
    if options.cap is not None:
        principal.spend_cap_micro_usd = options.cap
    principal.disabled = options.disable
    return principal


def _words(each: wire.Principal) -> str:
    parts = [each.name, each.kind + (f" of {each.owner}" if each.owner else "")]
    parts.append(",".join(each.roles))
    if each.HasField("approve_limit_micro_usd"):
        parts.append(f"approves up to {usd_text(each.approve_limit_micro_usd)}")
    if each.HasField("spend_cap_micro_usd"):
        parts.append(f"spends up to {usd_text(each.spend_cap_micro_usd)}")
    parts += [*each.accounts, *(["disabled"] if each.disabled else [])]
    return "  ".join(parts)


def token(words: Sequence[str]) -> None:
    """Make a token for callers that no daemon vouches for, or make one worthless."""
    parser = chore_parser("token", "Make a token (shown once), or make one worthless.")
    acts = parser.add_subparsers(dest="act", required=True)
    add = acts.add_parser("add", help="make one")
    add.add_argument("principal")
    add.add_argument("--days", type=int, default=90, help="how long it is good (default 90)")
    revoke = acts.add_parser("revoke", help="make one worthless")
    revoke.add_argument("token_id", metavar="T-…")
    options = parser.parse_args(words)
    if options.act == "revoke":
        _ask(options, "RevokeToken", wire.RevokeTokenRequest(token_id=options.token_id))
        print(f"{options.token_id} is worthless now")
        return
    asked = wire.AddTokenRequest(principal=options.principal, valid_s=options.days * DAY_S)
    made = _ask(options, "AddToken", asked)
    until = datetime.fromtimestamp(made.expires_unix_ns // 1_000_000_000, UTC)
    print(made.token)
    print(f"{made.token_id}, good until {until:%Y-%m-%d}; it is not shown again")


def policy(words: Sequence[str]) -> None:
    """Change the house rules, or tell them."""
    parser = chore_parser("policy", "Change the house rules; without a change, tell them.")
    parser.add_argument("--two-approvals-above", type=_usd, metavar="USD")
    parser.add_argument("--own-agent-limit", type=_usd, metavar="USD")
    parser.add_argument("--agent-spend-cap", type=_usd, metavar="USD")
    parser.add_argument("--agent-open-requests", type=int, metavar="N")
    parser.add_argument("--claim-lease-s", type=int, metavar="S")
    parser.add_argument("--approval-valid-s", type=int, metavar="S")
    parser.add_argument("--signatures", choices=("required", "optional"))
    parser.add_argument(
        "--enforce-budgets", choices=("on", "off"),
        help="end the runs of every request that spent its budget, where hosts allow it",
    )  # fmt: skip
    parser.add_argument(
        "--enforce-projects", metavar="NAMES", help="the same for these alone, commas between"
    )
    parser.add_argument("--enforce-at", type=int, metavar="PERCENT", help="of the budget")
    parser.add_argument("--checkpoint-signal", metavar="NAME", help="such as SIGUSR1")
    parser.add_argument("--checkpoint-grace-s", type=int, metavar="S", help="from it to SIGTERM")
    options = parser.parse_args(words)
    asked = wire.PolicyRequest()
    for name, field in (
        ("two_approvals_above", "two_approvals_above_micro_usd"),
        ("own_agent_limit", "own_agent_limit_micro_usd"),
        ("agent_spend_cap", "agent_spend_cap_micro_usd"),
        ("agent_open_requests", "agent_open_requests"),
        ("claim_lease_s", "claim_lease_s"),
        ("approval_valid_s", "approval_valid_s"),
        ("enforce_projects", "enforce_projects"),
        ("enforce_at", "enforce_at_percent"),
        ("checkpoint_signal", "checkpoint_signal"),
        ("checkpoint_grace_s", "checkpoint_grace_s"),
    ):
        if getattr(options, name) is not None:
            setattr(asked, field, getattr(options, name))
    if options.signatures:
        asked.signatures_required = options.signatures == "required"
    if options.enforce_budgets:
        asked.enforce_budgets = options.enforce_budgets == "on"
    for field, value in _ask(options, "SetPolicy", asked).policy.ListFields():
        shown = usd_text(value) if field.name.endswith("_micro_usd") else value
        print(f"{field.name.removesuffix('_micro_usd'):22} {shown}")


def _usd(text: str) -> int:
    try:
        amount = Decimal(text.removeprefix("$").replace(",", "")) * MICRO_USD
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in dollars") from None
    if amount < 0 or amount != int(amount):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in dollars")
    return int(amount)


def _ask(options: argparse.Namespace, method: str, request: Any = None) -> Any:
    """Ask the running collector. Raises CollectorError with its own words."""
    settings = settings_of(options)
    path = admin.socket_of(settings.data_dir)
    requests = {"ListPrincipals": wire.ListPrincipalsRequest()}
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = RequestsStub(channel)
        try:
            return getattr(stub, method)(
                request or requests[method],
                timeout=TIMEOUT_S,
                metadata=_ticket(settings.data_dir),
            )
        except grpc.RpcError as error:
            raise _error(error, path) from None


def _error(error: grpc.RpcError, path: Path) -> CollectorError:
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    if code is grpc.StatusCode.UNAVAILABLE:
        return StorageUnavailable(f"no collector answers at {path}; start it, or name --data-dir")
    return InvalidRequest(details)


def _ticket(data_dir: Path) -> tuple[tuple[str, bytes], ...]:
    """Show who asks, where a daemon of this host can say: an agent manages nobody."""
    name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    try:
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.settimeout(5.0)
            daemon.connect(str(SOCKETS / f"{name}.sock"))
            daemon.sendall(b'{"do":"vouch"}\n')
            with daemon.makefile("rb") as lines:
                ticket = base64.b64decode(json.loads(lines.readline())["ticket"])
    except (OSError, ValueError, KeyError):
        return ()
    return ((TICKET, ticket),)


REQUEST_CHORES: dict[str, Callable[[Sequence[str]], None]] = {
    "policy": policy,
    "principal": principal,
    "token": token,
}
