"""Requests as calls see them: who is who, the life of a request, the chain under it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.request_place import SECOND_NS, SEED, Place, agent, person

from whence_collector.audit_chain import Head
from whence_collector.errors import NotFound, RefusedAct
from whence_proto.v1 import request_pb2 as wire


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A collector with maria, who may approve up to $1,000, and alice."""
    made = Place(tmp_path)
    people = (
        wire.Principal(
            name="maria", kind="human", roles=["approver"], accounts=["maria@*"],
            approve_limit_micro_usd=1_000_000_000,
        ),
        wire.Principal(name="alice", kind="human", roles=["member"], accounts=["alice@gpu-07"]),
    )  # fmt: skip
    for each in people:
        made.administer("SetPrincipal", each)
    yield made
    made.close()


def filed(place: Place, card: wire.Card = SEED, *, by: str = "alice") -> wire.RequestDetail:
    """File a card as an agent of somebody."""
    reply: wire.FileReply = place.ask("File", wire.FileRequest(card=card), *agent(by))
    assert reply.HasField("request"), reply.findings
    return reply.request


def approval(request: wire.RequestDetail) -> wire.ReviewRequest:
    """Return an approval of the revision that stands."""
    summary = request.summary
    return wire.ReviewRequest(
        request_id=summary.request_id, verdict="approve", digest=summary.digest, reason="go"
    )


def refusal(place: Place, method: str, request: object, *ancestry: object, **more: str) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(RefusedAct) as caught:
        place.ask(method, request, *ancestry, **more)  # type: ignore[arg-type]  # Seen
    return caught.value.code


def test_the_seed_from_filing_to_its_end(place: Place) -> None:
    request = filed(place)
    assert (request.summary.requester, request.summary.requester_kind) == ("alice/claude", "agent")
    assert (request.summary.budget_micro_usd, request.card.datasets[0].digest) == (
        984_000_000, "ad9c125",
    )  # fmt: skip

    assert place.ask("Review", approval(request), *person("maria")).summary.state == "approved"
    claim = place.ask("Claim", wire.ClaimRequest(request_id="R-1", host="gpu-07"), *agent("alice"))
    assert claim.request.summary.state == "claimed"
    assert [each.action for each in claim.request.timeline] == [
        "request.filed", "request.reviewed", "request.claimed",
    ]  # fmt: skip


@pytest.mark.parametrize("who", ["alice", "maria"])
def test_an_agent_is_refused_and_the_attempt_recorded(place: Place, who: str) -> None:
    request = filed(place)

    assert refusal(place, "Review", approval(request), *agent(who)) == "agent"

    record = place.ledger.records()[-1]
    assert (record.action, record.subject, record.content["code"]) == ("refused", "R-1", "agent")
    assert record.actor["name"] == f"{who}/claude"
    assert any("claude" in each for each in record.actor["origin"]["ancestry"])
    assert place.ask("Get", wire.GetRequest(request_id="R-1")).summary.state == "filed"


def test_the_same_attempt_again_and_again_is_one_record(place: Place) -> None:
    request = filed(place)
    before = len(place.ledger.records())

    for _ in range(50):
        refusal(place, "Review", approval(request), *agent("maria"))

    assert len(place.ledger.records()) == before + 1


def test_a_stolen_token_is_no_person_on_an_observed_host(place: Place) -> None:
    request = filed(place)
    token = place.administer("AddToken", wire.AddTokenRequest(principal="maria")).token

    for peer in ("ipv4:127.0.0.1:5", "ipv6:%5B::1%5D:5", "ipv4:10.0.0.7:5"):
        assert refusal(place, "Review", approval(request), token=token, peer=peer) == "ancestry"
    # with it, an agent under alice's account is an agent of maria, and no more
    assert refusal(place, "Review", approval(request), *agent("alice"), token=token) == "agent"

    approved = place.ask("Review", approval(request), token=token)
    assert approved.summary.state == "approved"


def test_tokens_are_kept_as_digests_and_end(place: Place) -> None:
    made = place.administer("AddToken", wire.AddTokenRequest(principal="maria", valid_s=60))
    assert made.token not in str([record.content for record in place.ledger.records()])
    assert place.ask("WhoAmI", wire.WhoAmIRequest(), token=made.token).name == "maria"

    place.now += 61 * SECOND_NS
    assert refusal(place, "WhoAmI", wire.WhoAmIRequest(), token=made.token) == "token"
    other = place.administer("AddToken", wire.AddTokenRequest(principal="maria"))
    place.administer("RevokeToken", wire.RevokeTokenRequest(token_id=other.token_id))
    assert refusal(place, "WhoAmI", wire.WhoAmIRequest(), token=other.token) == "token"


def test_a_ticket_is_good_once_and_from_its_daemon_only(place: Place) -> None:
    from tests.unit.request_place import Context

    ticket = place.ticket(*person("maria"))
    shown = Context((("whence-ticket-bin", ticket),), "ipv4:127.0.0.1:1")
    who = asyncio.run(place.family.service.WhoAmI(wire.WhoAmIRequest(), shown))  # type: ignore[arg-type]  # stands in
    assert (who.name, who.doubt) == ("maria", "")
    with pytest.raises(RefusedAct, match="used before"):
        asyncio.run(place.family.service.WhoAmI(wire.WhoAmIRequest(), shown))  # type: ignore[arg-type]  # stands in

    forged = bytearray(place.ticket(*person("maria")))
    forged[-1] ^= 1
    shown = Context((("whence-ticket-bin", bytes(forged)),), "ipv4:127.0.0.1:1")
    with pytest.raises(RefusedAct, match="not made by"):
        asyncio.run(place.family.service.WhoAmI(wire.WhoAmIRequest(), shown))  # type: ignore[arg-type]  # stands in


def test_who_shows_nothing_may_read_and_no_more(place: Place) -> None:
    request = filed(place)

    assert place.ask("Get", wire.GetRequest(request_id="1")).summary.request_id == "R-1"
    assert len(place.ask("List", wire.ListRequest()).requests) == 1
    for method, asked in (
        ("File", wire.FileRequest(card=SEED)),
        ("Comment", wire.CommentRequest(target="R-1", text="hello")),
        ("Claim", wire.ClaimRequest(request_id="R-1")),
        ("Review", approval(request)),
        ("SetPrincipal", wire.Principal(name="eve", kind="human", roles=["approver"])),
        ("AddToken", wire.AddTokenRequest(principal="maria")),
        ("SetPolicy", wire.PolicyRequest(signatures_required=False)),
    ):
        assert refusal(place, method, asked) == "identity", method


def test_an_edit_voids_approvals_but_a_lower_budget_does_not(place: Place) -> None:
    request = filed(place)
    place.ask("Review", approval(request), *person("maria"))

    lower = wire.Card()
    lower.CopyFrom(SEED)
    lower.budget_micro_usd = 900_000_000
    after = place.ask("Edit", wire.EditRequest(request_id="R-1", card=lower), *agent("alice"))
    assert (after.request.summary.state, after.request.summary.approved_by) == (
        "approved",
        ["maria"],
    )

    lower.compute.count = 16
    after = place.ask("Edit", wire.EditRequest(request_id="R-1", card=lower), *agent("alice"))
    assert (after.request.summary.state, list(after.request.summary.approved_by)) == ("filed", [])
    # what was read before the edit can no longer be agreed to
    assert refusal(place, "Review", approval(request), *person("maria")) == "stale"


@pytest.mark.parametrize(
    ("change", "field", "severity"),
    [
        ({"title": ""}, "title", "error"),
        ({"budget_micro_usd": 0}, "budget", "error"),
        ({"reviewers": ["nobody"]}, "reviewers", "error"),
        ({"reviewers": ["alice"]}, "reviewers", "error"),
        ({"commit": "main"}, "code.commit", "error"),
        ({"expires_unix_ns": 5}, "expires", "error"),
        ({"datasets": [wire.DataRef(uri="s3://x", digest="xyz")]}, "datasets[0].digest", "error"),
        ({"datasets": [wire.DataRef(uri="s3://x")]}, "datasets[0].digest", "warning"),
        ({"budget_micro_usd": 100}, "budget", "warning"),
        ({}, "base_model.digest", "warning"),
    ],
)
def test_each_field_is_answered(
    place: Place, change: dict[str, object], field: str, severity: str
) -> None:
    card = wire.Card()
    card.CopyFrom(SEED)
    for name in change:
        card.ClearField(name)  # type: ignore[arg-type]  # a field's name
    card.MergeFrom(wire.Card(**change))  # type: ignore[arg-type]  # values by name

    reply = place.ask("File", wire.FileRequest(card=card, only_check=True), *agent("alice"))

    assert (field, severity) in {(each.field, each.severity) for each in reply.findings}
    assert not reply.HasField("request")


def test_what_was_kept_is_read_again(place: Place) -> None:
    request = filed(place)
    place.ask("Review", approval(request), *person("maria"))
    place.ask(
        "Comment", wire.CommentRequest(target="R-1", text="mind the test set"), *agent("alice")
    )
    before = place.ask("Get", wire.GetRequest(request_id="R-1"))

    place.again()

    assert place.ask("Get", wire.GetRequest(request_id="R-1")) == before
    assert [each.text for each in before.comments] == ["mind the test set"]


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_record SET content_json = replace(content_json, '984', '484') "
         "WHERE action = 'request.filed'", "edited"),
        ("UPDATE audit_record SET actor_json = '{\"name\": \"eve\"}' WHERE number = 3", "edited"),
        ("UPDATE audit_record SET at_ns = at_ns + 1 WHERE number = 2", "edited"),
        ("DELETE FROM audit_record WHERE number = 2", "missing or moved"),
        ("UPDATE audit_record SET number = CASE number WHEN 2 THEN 3 WHEN 3 THEN 2 ELSE number END",
         "does not follow"),
        ("INSERT INTO audit_record SELECT * FROM audit_record WHERE number = 2", "missing or"),
        ("UPDATE audit_record SET content_json = content_json || ' ' WHERE number = 3", "edited"),
    ],
)  # fmt: skip
def test_any_change_of_the_chain_is_found(place: Place, statement: str, fault: str) -> None:
    filed(place)
    assert place.ledger.verify().fault == ""

    place.store.write(lambda writer: writer.execute(statement)).result()

    assert fault in place.ledger.verify().fault


def test_records_cut_off_the_end_are_found_by_a_head_that_was_kept(place: Place) -> None:
    filed(place)
    head = place.ledger.book.head

    place.store.write(
        lambda writer: writer.execute("DELETE FROM audit_record WHERE number = ?", (head.number,))
    ).result()

    assert place.ledger.verify().fault == ""
    assert "cut off" in place.ledger.verify(Head(head.number, head.sha256)).fault


def test_a_disk_that_refuses_leaves_everything_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space")

    head = place.ledger.book.head
    monkeypatch.setattr(place.ledger, "_write", refuse)
    with pytest.raises(OSError, match="no space"):
        place.ask("File", wire.FileRequest(card=SEED), *agent("alice"))
    monkeypatch.undo()

    assert place.ledger.book.head == head
    with pytest.raises(NotFound):
        place.ask("Get", wire.GetRequest(request_id="R-1"))
    assert filed(place).summary.request_id == "R-1"


def test_of_a_thousand_claimers_one_wins(place: Place) -> None:
    from tests.unit.request_place import Context

    request = filed(place)
    place.ask("Review", approval(request), *person("maria"))
    names = [f"person{number}" for number in range(1_000)]
    tickets = [place.ticket(*person(name)) for name in names]

    async def claim(ticket: bytes) -> str:
        shown = Context((("whence-ticket-bin", ticket),), "ipv4:127.0.0.1:1")
        asked = wire.ClaimRequest(request_id="R-1", host="gpu-07")
        try:
            return (await place.family.service.Claim(asked, shown)).claim_id  # type: ignore[arg-type]  # stands in
        except RefusedAct as refused:
            return refused.code

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*map(claim, tickets))

    outcomes = asyncio.run(all_at_once())

    assert sorted(each for each in outcomes if each != "claimed") == [
        place.ask("Get", wire.GetRequest(request_id="R-1")).claim_id
    ]
    claims = [record for record in place.ledger.records() if record.action == "request.claimed"]
    assert len(claims) == 1


def test_a_claim_without_a_run_lapses(place: Place) -> None:
    request = filed(place)
    place.ask("Review", approval(request), *person("maria"))
    place.ask("Claim", wire.ClaimRequest(request_id="R-1"), *agent("alice"))

    place.now += 3_601 * SECOND_NS

    queued = place.ask("List", wire.ListRequest(queued=True)).requests
    assert [each.request_id for each in queued] == ["R-1"]


def test_queues_show_to_each_what_is_theirs(place: Place) -> None:
    filed(place)

    def listed(*ancestry: object, **filters: bool) -> list[str]:
        reply = place.ask("List", wire.ListRequest(**filters), *ancestry)  # type: ignore[arg-type]  # Seen
        return [each.request_id for each in reply.requests]

    assert listed(*person("maria"), to_review=True) == ["R-1"]
    assert listed(*person("alice"), to_review=True) == []
    assert listed(*person("alice"), mine=True) == ["R-1"]
    assert listed(*person("maria"), mine=True) == []


def test_the_kind_of_a_principal_stays(place: Place) -> None:
    place.administer("SetPrincipal", wire.Principal(
        name="bot", kind="agent", roles=["approver"], owner="alice",
    ))  # fmt: skip
    with pytest.raises(RefusedAct, match="stays so"):
        place.administer("SetPrincipal", wire.Principal(name="bot", kind="human"))
