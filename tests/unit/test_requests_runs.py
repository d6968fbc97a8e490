"""Runs beside requests: linked by claim or content, drift named, money burned, GPUs unasked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.request_place import SECOND_NS, SEED, Place, agent, person
from tests.unit.traced import NOON_NS, Host, Machine, digest_of

from whence_collector.derive import Deriver
from whence_proto.v1 import request_pb2 as wire

MINUTE_NS, HOUR_NS = 60 * SECOND_NS, 3_600 * SECOND_NS
USD = 1_000_000
RATE_NANO = 12_500_000_000  # 12.50 a GPU-hour


class Site:
    """A collector's requests and a host whose runs it sees."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.machine = Machine(self.place.store, Deriver)
        self.host: Host = self.machine.host
        self.place.now = NOON_NS
        for name, roles in (("maria", ["approver"]), ("ada", ["member"])):
            self.place.administer("SetPrincipal", wire.Principal(
                name=name, kind="human", roles=roles, accounts=[f"{name}@*"],
            ))  # fmt: skip
        self.write(
            "INSERT INTO price_book VALUES (1, 'NVIDIA H100*', '*', 'on-demand', ?, NULL, NULL, "
            "0, ?, 0, NULL)", RATE_NANO, 1 << 62,
        )  # fmt: skip

    def write(self, sql: str, *params: object) -> None:
        """Change the database as another part of the collector would."""
        self.place.store.write(lambda writer: writer.execute(sql, params)).result()

    def approved(self, **changes: Any) -> str:
        """File and approve the seed with changes; return its name."""
        card = wire.Card()
        card.CopyFrom(SEED)
        card.datasets[0].digest = digest_of("tickets")[:14]
        card.base_model.digest = digest_of("base")[:14]
        for name, value in changes.items():
            setattr(card, name, value)
        request = self.place.ask("File", wire.FileRequest(card=card), *agent("ada")).request
        self.place.ask("Review", wire.ReviewRequest(
            request_id=request.summary.request_id, verdict="approve",
            digest=request.summary.digest,
        ), *person("maria"))  # fmt: skip
        return str(request.summary.request_id)

    def claimed(self, name: str) -> str:
        """Claim a request; return the claim."""
        claim = wire.ClaimRequest(request_id=name, host="node")
        return str(self.place.ask("Claim", claim, *agent("ada")).claim_id)

    def train(self, data: str = "tickets", base: str = "base", **variables: str) -> Any:
        """Begin a training that reads data and a base model, and writes a model."""
        process = self.host.spawn(None, "python", "train.py")
        if variables:
            self.host.with_environment(process, **variables)
        self.host.read(process, 1, "/d/tickets.csv")
        self.host.read(process, 2, "/m/base.safetensors")
        self.host.digest(1, data, path="/d/tickets.csv")
        self.host.digest(2, base, path="/m/base.safetensors")
        self.host.write(process, 3, "/m/tuned.safetensors")
        self.host.digest(3, "tuned", path="/m/tuned.safetensors")
        self.machine.deliver()
        return process

    def hold(self, process: Any, gpus: int, from_ns: int) -> None:
        """Hold GPUs from a time on."""
        for number in range(gpus):
            gpu = f"GPU-{number}"
            self.write(
                "INSERT INTO gpu_device (host_id, gpu_uuid, model, at_ns) VALUES "
                "(1, ?, 'NVIDIA H100 80GB HBM3', 0)", gpu,
            )  # fmt: skip
            self.write(
                "INSERT INTO gpu_hold VALUES (?, ?, 1, ?, 0, 2, ?, NULL, 1, NULL, 0, 0, 1)",
                number + 1, process.process_id, gpu, from_ns,
            )  # fmt: skip

    def end(self, process: Any, code: int = 0) -> None:
        """End a training."""
        self.host.end(process, code=code)
        self.machine.deliver()

    def step(self, at_ns: int) -> None:
        """Let the watch look at a time."""
        self.place.now = at_ns
        self.place.family.watch.step()

    def get(self, name: str) -> wire.RequestDetail:
        """Return a request in full."""
        found: wire.RequestDetail = self.place.ask("Get", wire.GetRequest(request_id=name))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.place.close()


def test_a_run_with_the_claim_starts_and_ends_its_request(site: Site) -> None:
    name = site.approved()
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.step(NOON_NS + MINUTE_NS)
    running = site.get(name)
    site.end(process)
    site.step(NOON_NS + 2 * MINUTE_NS)
    done = site.get(name)

    assert (running.summary.state, done.summary.state) == ("running", "done")
    assert [(run.how, run.score, list(run.drift)) for run in done.runs] == [("claim", 1000, [])]


def test_a_run_that_reads_what_was_approved_is_found_by_content(site: Site) -> None:
    name = site.approved()
    site.place.now = NOON_NS + SECOND_NS
    site.host.now_ns += MINUTE_NS
    site.train()

    site.step(NOON_NS + 2 * MINUTE_NS)

    assert [(run.how, run.score) for run in site.get(name).runs] == [("content", 1000)]


def test_of_two_runs_that_fit_a_person_picks(site: Site) -> None:
    name = site.approved()
    site.host.now_ns += MINUTE_NS
    site.train()
    site.host.tick()
    site.train()

    site.step(NOON_NS + 2 * MINUTE_NS)

    assert list(site.get(name).runs) == []


def test_drift_names_what_was_approved_and_what_was_read(site: Site) -> None:
    name = site.approved(commit="a1b2c3d")
    site.train(data="other tickets", WHENCE_CLAIM=site.claimed(name))

    site.step(NOON_NS + MINUTE_NS)

    wanted, read = (digest_of(text)[7:14] for text in ("tickets", "other tickets"))
    assert list(site.get(name).runs[0].drift) == [
        f"approved dataset {wanted}, read {read} (tickets.csv)",
        "approved commit a1b2c3d, ran outside of a repository",
    ]


def test_the_time_at_which_the_budget_ends_is_exact(site: Site) -> None:
    name = site.approved(budget_micro_usd=200 * USD)
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.hold(process, 8, NOON_NS)
    site.step(NOON_NS + HOUR_NS)

    found = site.get(name)

    # eight times 12.50 are 100 dollars an hour: the second hour ends the budget
    assert (found.summary.spent_micro_usd, found.micro_usd_per_hour) == (100 * USD, 100 * USD)
    assert found.exhausted_unix_ns == NOON_NS + 2 * HOUR_NS


def test_marks_of_the_budget_are_told_once_and_overspend_ends_so(site: Site) -> None:
    name = site.approved(budget_micro_usd=100 * USD)
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.hold(process, 8, NOON_NS)
    for minutes in (1, 31, 49, 50, 61, 62, 73):
        site.step(NOON_NS + minutes * MINUTE_NS)
    site.end(process)
    site.step(NOON_NS + 74 * MINUTE_NS)

    told = [
        record.content["percent"]
        for record in site.place.ledger.records()
        if record.action == "request.burned"
    ]
    assert told == [50, 80, 100, 120]
    assert site.get(name).summary.state == "over budget"


def test_gpus_that_nobody_asked_for_are_told_within_a_minute(site: Site) -> None:
    process = site.train()
    site.hold(process, 2, NOON_NS)
    for seconds in range(5, 60, 5):
        site.step(NOON_NS + seconds * SECOND_NS)

    told = [
        record for record in site.place.ledger.records() if record.action == "spend.unrequested"
    ]
    assert [(record.content["gpus"], record.content["micro_usd_per_hour"]) for record in told] == [
        (2, 25 * USD)
    ]
    assert told[0].at_unix_ns - NOON_NS < MINUTE_NS


def test_a_requested_run_is_not_told_as_unrequested(site: Site) -> None:
    name = site.approved()
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.hold(process, 8, NOON_NS)
    site.step(NOON_NS + 50 * SECOND_NS)

    assert "spend.unrequested" not in {record.action for record in site.place.ledger.records()}


def test_a_second_run_on_one_claim_is_named(site: Site) -> None:
    name = site.approved()
    claim = site.claimed(name)
    site.train(WHENCE_CLAIM=claim)
    site.step(NOON_NS + MINUTE_NS)
    site.train(WHENCE_CLAIM=claim)
    site.step(NOON_NS + 2 * MINUTE_NS)

    assert [list(run.drift) for run in site.get(name).runs] == [[], ["a second run on one claim"]]


def test_the_estimate_shows_its_basis_apart_from_the_budget(site: Site) -> None:
    found = site.get(site.approved())

    # 8 x 3.2 h x 12.50
    assert (found.estimate.micro_usd, found.summary.budget_micro_usd) == (320 * USD, 984 * USD)
    assert "8 x H100 x 3.2 h at $12.50 a GPU-hour" in found.estimate.basis[0]


def test_why_tells_who_agreed_along_the_lineage(site: Site) -> None:
    name = site.approved()
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.end(process)
    site.step(NOON_NS + MINUTE_NS)
    tuned = digest_of("tuned")
    site.place.ask("Comment", wire.CommentRequest(target=tuned, text="Kept"), *person("maria"))
    user = site.host.spawn(None, "python", "serve.py")
    site.host.read(user, 3, "/m/tuned.safetensors")
    site.host.write(user, 4, "/m/quantised.gguf")
    site.host.digest(4, "quantised", path="/m/quantised.gguf")
    site.machine.deliver()

    why = site.place.ask("Why", wire.WhyRequest(target=digest_of("quantised")))

    assert [(step.hops, step.command, step.request.summary.request_id) for step in why.steps] == [
        (0, "python serve.py", ""),
        (1, "python train.py", name),
    ]
    told = why.steps[1].request
    assert (told.card.rationale, told.decisions[0].who) == (SEED.rationale, "maria")
    notes = site.place.ask("Why", wire.WhyRequest(target=tuned)).notes
    assert [(each.who, each.text) for each in notes] == [("maria", "Kept")]


def test_runs_name_the_request_that_they_answer_and_no_other(site: Site) -> None:
    name = site.approved()
    site.train(WHENCE_CLAIM=site.claimed(name))
    boaster = site.host.with_environment(
        site.host.spawn(None, "python", "boast.py"), WHENCE_REQUEST="R-77"
    )
    site.host.write(boaster, 9, "/x")
    site.machine.deliver()
    site.step(NOON_NS + MINUTE_NS)

    named = dict(site.machine.rows("SELECT command, request_id FROM runs"))

    assert (named["python train.py"], named["python boast.py"]) == (name, None)


def test_filing_shows_what_ran_already_and_what_is_test_data(site: Site) -> None:
    name = site.approved()
    process = site.train(WHENCE_CLAIM=site.claimed(name))
    site.end(process)
    site.write(
        "INSERT INTO tag VALUES ('artifact', ?, NULL, 'test-set', 'june', false, true, 'ada', "
        "true, 1)", digest_of("tickets"),
    )  # fmt: skip
    site.step(NOON_NS + MINUTE_NS)
    card = site.get(name).card
    card.title = "again"

    findings = site.place.ask(
        "File", wire.FileRequest(card=card, only_check=True), *agent("ada")
    ).findings

    told = {each.code: each.text for each in findings}
    assert "this ran on 2027-01-15: run " in " ".join(
        each.text for each in findings if each.code == "earlier"
    )
    assert "labelled test-set (june)" in told["test-set"]
