"""Random principals act on the real collector while it is killed; its chain against a plain model.

`python -m tests.soak.decisions` starts the program, lets threads file, edit, decide, comment, claim
and cancel over gRPC, and kills it (kill -9) at random moments. What was answered must be in the
chain; what is in the chain must be allowed by the model, which shares no code with the rules.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tests.addresses import free_address
from tests.soak.chain_model import ChainModel
from tests.unit.request_place import HOST, KEY, SECOND_NS, agent, person, statement_of
from tools.instance import COLLECTOR, Instance, running, start, stop

from whence.audit_check import verify
from whence.request_client import message_document
from whence_proto.v1 import ingest_pb2, ingest_pb2_grpc
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1.request_pb2_grpc import RequestsStub

PEOPLE = ("alice", "bob", "carol", "dan")
ROLES = {"alice": ["approver"], "bob": ["approver"], "carol": ["approver", "admin"]}
BUDGETS = tuple(usd * 1_000_000 for usd in (50, 99, 984, 1_500, 4_000, 6_000, 20_000))
VERDICTS = ("approve", "approve", "approve", "reject", "changes", "withdraw")
POLICY = wire.PolicyRequest(
    two_approvals_above_micro_usd=5_000_000_000,
    own_agent_limit_micro_usd=100_000_000,
    agent_spend_cap_micro_usd=2_000_000_000,
    agent_open_requests=100_000,
    claim_lease_s=1,
    approval_valid_s=3600,
)
THREADS, CALL_S, CLAIMERS = 4, 20.0, 1_000
# Acts are slower the more requests there are: a database for so many acts.
BLOCK = 4_000


@dataclass(slots=True)
class Answered:
    """What callers were told; compared with the chain at the end."""

    acts: int = 0
    refused: int = 0
    unanswered: int = 0
    comments: set[str] = field(default_factory=set)
    claims: set[str] = field(default_factory=set)
    filed: set[str] = field(default_factory=set)
    approvals: int = 0

    def add(self, other: Answered) -> None:
        """Take in what another thread was told."""
        self.acts += other.acts
        self.refused += other.refused
        self.unanswered += other.unanswered
        self.approvals += other.approvals
        self.comments |= other.comments
        self.claims |= other.claims
        self.filed |= other.filed


class Actor:
    """One thread's random acts of random principals."""

    def __init__(self, address: str, seed: int, named: list[str]) -> None:
        self._chance = random.Random(seed)  # noqa: S311 -- to be walked again
        self._channel = grpc.insecure_channel(address)
        self._stub: Any = RequestsStub(self._channel)
        self._seed, self._named, self.told = seed, named, Answered()
        self._tried = 0

    def act(self) -> None:
        """Do one act; whatever comes back is kept. One that a kill cut off does not count."""
        self._tried += 1
        number = self._chance.randrange(20)
        try:
            if number < 2 or not self._named:
                self._file()
            else:
                self._to(self._pick(), number)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                                grpc.StatusCode.CANCELLED):  # fmt: skip
                self.told.unanswered += 1
                time.sleep(0.2)
                return
            self.told.refused += 1
        self.told.acts += 1

    def _pick(self) -> str:
        recent = self._named[-8:] if self._chance.random() < 0.8 else self._named
        return self._chance.choice(recent)

    def _who(self) -> tuple[tuple[str, bytes], ...]:
        """Show a person who typed it, an agent under somebody's account, or nothing."""
        name = self._chance.choice(PEOPLE)
        dice = self._chance.random()
        if dice < 0.05:
            return ()
        return shown(agent(name) if dice < 0.3 else person(name))

    def _file(self) -> None:
        reviewers = self._chance.sample(PEOPLE[:3], self._chance.randint(1, 3))
        card = wire.Card(
            title=f"t{self._seed}-{self._tried}", rationale="r",
            compute=wire.Compute(count=8, gpu_model="H100", duration_s=11_520),
            budget_micro_usd=self._chance.choice(BUDGETS), reviewers=reviewers,
        )  # fmt: skip
        asked = wire.FileRequest(card=card, draft=self._chance.random() < 0.1)
        reply = self._stub.File(asked, metadata=self._who(), timeout=CALL_S)
        if reply.HasField("request"):
            self._named.append(reply.request.summary.request_id)
            self.told.filed.add(reply.request.summary.request_id)

    def _to(self, name: str, number: int) -> None:
        shows = {"metadata": self._who(), "timeout": CALL_S}
        if number < 4:
            card = self._stub.Get(wire.GetRequest(request_id=name), timeout=CALL_S).card
            card.budget_micro_usd = self._chance.choice(BUDGETS)
            card.title = self._chance.choice((card.title, "another"))
            self._stub.Edit(wire.EditRequest(request_id=name, card=card), **shows)
        elif number < 11:
            self._decide(name, shows)
        elif number < 14:
            text = f"word {self._seed} {self._tried}"
            self._stub.Comment(wire.CommentRequest(target=name, text=text), **shows)
            self.told.comments.add(text)
        elif number < 18:
            reply = self._stub.Claim(wire.ClaimRequest(request_id=name, host="gpu-07"), **shows)
            self.told.claims.add(reply.claim_id)
        else:
            move = self._chance.choice(("cancel", "release", "release", "submit"))
            self._stub.Move(wire.MoveRequest(request_id=name, move=move), **shows)

    def _decide(self, name: str, shows: dict[str, Any]) -> None:
        found = self._stub.Get(wire.GetRequest(request_id=name), timeout=CALL_S).summary
        if self._chance.random() < 0.6:  # else nearly nothing would ever be agreed to
            shows = {**shows, "metadata": shown(person(self._chance.choice(found.reviewers)))}
        verdict = self._chance.choice(VERDICTS)
        asked = wire.ReviewRequest(
            request_id=name, verdict=verdict, digest=found.digest, reason="because"
        )
        self._stub.Review(asked, **shows)
        self.told.approvals += verdict == "approve"


def shown(ancestry: tuple[Any, ...]) -> tuple[tuple[str, bytes], ...]:
    """Return the ticket that the daemon of HOST makes of an ancestry."""
    until = time.time_ns() + 30 * SECOND_NS
    statement = statement_of(ancestry, os.urandom(16), until).SerializeToString()
    code = hmac.new(KEY, statement, hashlib.sha256).digest()
    ticket = wire.Ticket(statement=statement, code=code).SerializeToString()
    return (("whence-ticket-bin", ticket),)


class Node:
    """The daemon of HOST, as far as vouching goes: says Hello to each life of the collector."""

    def __init__(self, instance: Instance) -> None:
        self._instance, self._over = instance, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._greet()
            except (grpc.RpcError, OSError):
                time.sleep(0.05)

    def _greet(self) -> None:
        token = (self._instance.data_dir / "collector" / "node.token").read_text().strip()
        hello = ingest_pb2.Hello(host=HOST, boot_id="b", vouch_key=KEY, node_token=token)
        with grpc.insecure_channel(self._instance.address) as channel:
            deliver = ingest_pb2_grpc.IngestStub(channel).Deliver(self._said(hello))
            for _ in deliver:
                continue

    def _said(self, hello: ingest_pb2.Hello) -> Iterator[ingest_pb2.FromDaemon]:
        yield ingest_pb2.FromDaemon(hello=hello)
        self._over.wait()

    def close(self) -> None:
        """Hang up."""
        self._over.set()


@contextmanager
def collector(place: Path) -> Iterator[Instance]:
    """Run the program with its principals and rules."""
    instance = Instance(place / "data", free_address())
    (instance.data_dir / "run").mkdir(parents=True)
    start(instance, COLLECTOR)
    node = Node(instance)
    try:
        with grpc.insecure_channel(f"unix:{instance.data_dir}/run/admin.sock") as channel:
            stub: Any = RequestsStub(channel)
            for name in PEOPLE:
                made = wire.Principal(
                    name=name, kind="human", roles=ROLES.get(name, ["member"]),
                    accounts=[f"{name}@*"],
                )  # fmt: skip
                if name == "bob":
                    made.approve_limit_micro_usd = 1_000_000_000
                stub.SetPrincipal(made)
            stub.SetPolicy(POLICY)
        yield instance
    finally:
        node.close()
        stop(instance, COLLECTOR)


def block(place: Path, acts: int, seed: int, kill_every_s: float) -> tuple[Answered, int, int, int]:
    """Act and kill; compare. Return what was answered, kills, records, claims that won of 1,000."""
    dice = random.Random(seed)  # noqa: S311 -- to be walked again
    with collector(place) as instance:
        named: list[str] = []
        actors = [Actor(instance.address, seed * 100 + n, named) for n in range(THREADS)]
        threads = [threading.Thread(target=_act, args=(each, acts // THREADS)) for each in actors]
        for thread in threads:
            thread.start()
        kills = 0
        while any(thread.is_alive() for thread in threads):
            _wait(threads, kill_every_s * (0.5 + dice.random()))
            if any(thread.is_alive() for thread in threads):
                _kill(instance)
                kills += 1
        told = Answered()
        for each in actors:
            told.add(each.told)
        won = _race(instance, actors[0])
        records = _compare(instance, told)
    return told, kills, records, won


def _wait(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _act(actor: Actor, acts: int) -> None:
    while actor.told.acts < acts:
        actor.act()


def _kill(instance: Instance) -> None:
    found = running(instance, COLLECTOR)
    assert found is not None, "the collector ended by itself: see its log"
    os.kill(found.pid, signal.SIGKILL)
    while running(instance, COLLECTOR) is not None:
        time.sleep(0.01)
    start(instance, COLLECTOR)


def _race(instance: Instance, actor: Actor) -> int:
    """Let a thousand claim one approved request at once; return how many were given it."""
    stub = actor._stub
    card = wire.Card(
        title="race", rationale="r", reviewers=["alice"], budget_micro_usd=50_000_000,
        compute=wire.Compute(count=1, gpu_model="H100", duration_s=3600),
    )  # fmt: skip
    _until_known(stub)
    with grpc.insecure_channel(f"unix:{instance.data_dir}/run/admin.sock") as channel:
        rules: Any = RequestsStub(channel)  # a claim that lapses within the race could be won again
        rules.SetPolicy(wire.PolicyRequest(claim_lease_s=3600))
    filed = stub.File(wire.FileRequest(card=card), metadata=shown(person("dan"))).request.summary
    stub.Review(
        wire.ReviewRequest(request_id=filed.request_id, verdict="approve", digest=filed.digest),
        metadata=shown(person("alice")),
    )
    asked = wire.ClaimRequest(request_id=filed.request_id, host="h")
    calls = [
        stub.Claim.future(asked, metadata=shown(person(f"u{number}")), timeout=120)
        for number in range(CLAIMERS)
    ]
    return sum(call.exception() is None for call in calls)


def _until_known(stub: Any) -> None:
    """Wait until the daemon's key has reached this life of the collector."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            stub.WhoAmI(wire.WhoAmIRequest(), metadata=shown(person("dan")), timeout=CALL_S)
        except grpc.RpcError:
            time.sleep(0.05)
            continue
        return
    raise AssertionError("the collector does not know the daemon of the soak")


def _compare(instance: Instance, told: Answered) -> int:
    """Hold the chain against the model and against what was answered."""
    with grpc.insecure_channel(instance.address) as channel:
        stub: Any = RequestsStub(channel)
        lines = [message_document(each) for each in stub.Audit(wire.AuditRequest())]
        verdict = verify(lines, None)
        assert verdict.fault == "", verdict.fault
        model = ChainModel(
            own_agent_limit=POLICY.own_agent_limit_micro_usd,
            two_above=POLICY.two_approvals_above_micro_usd,
        )
        for line in lines:
            model.take(line)
        said = [text for each in model.requests.values() for text in each.said]
        assert len(said) == len(set(said)), "a comment is there twice"
        assert told.comments <= set(said), f"lost: {sorted(told.comments - set(said))[:3]}"
        assert told.claims <= model.claims, f"lost: {sorted(told.claims - model.claims)[:3]}"
        assert told.filed <= model.requests.keys(), "a request was lost"
        assert model.approvals >= told.approvals
        for name, each in model.requests.items():
            shown_now = stub.Get(wire.GetRequest(request_id=name))
            assert [remark.text for remark in shown_now.comments] == each.said
        checked = stub.CheckTables(wire.CheckTablesRequest())
        assert list(checked.faults) == [], checked.faults
    return len(lines)


def main() -> int:
    """Walk blocks until the acts are done; end with 1 at the first broken promise."""
    parser = argparse.ArgumentParser(prog="tests.soak.decisions", description=__doc__)
    parser.add_argument("--acts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 24))
    parser.add_argument("--kill-every-s", type=float, default=6.0)
    options = parser.parse_args()
    done, records, kills, seed = Answered(), 0, 0, options.seed
    began_s = time.monotonic()
    while done.acts < options.acts:
        acts = min(BLOCK, options.acts - done.acts)
        with tempfile.TemporaryDirectory(prefix="whence-soak-") as folder:
            told, killed, written, won = block(Path(folder), acts, seed, options.kill_every_s)
        done.add(told)
        done.comments.clear()
        records, kills, seed = records + written, kills + killed, seed + 1
        print(
            f"{done.acts:,} acts, {done.refused:,} refused, {done.unanswered:,} cut off by {kills} "
            f"kills in {time.monotonic() - began_s:,.0f} s; {records:,} records whole, "
            f"{done.approvals:,} approvals, 0 forbidden; {won} of {CLAIMERS:,} claimers won; "
            f"0 comments lost (seed {options.seed}, next {seed})",
            flush=True,
        )
        if won != 1:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
