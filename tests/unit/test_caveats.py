"""A "no" tells what could hide a "yes"; what runs on a host that is away is not "complete"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.traced import SECOND_NS, Machine

from whence_collector.caveats import away_hosts, caveats, mark_away
from whence_collector.derive import Deriver
from whence_collector.resolved import LossRow
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2, query_pb2


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    store = Store(tmp_path / "whence.duckdb")
    yield Machine(store, Deriver)
    store.close()


def said(machine: Machine, host: str | None = None, *, connected: bool = True) -> list[str]:
    with machine.store.cursor() as reader:
        return caveats(reader, lambda _: connected, host)


def test_where_no_host_has_ever_delivered_nothing_is_known(machine: Machine) -> None:
    assert said(machine) == ["no host has ever delivered: nothing that happened there is known"]
    assert said(machine, "other") == [
        "host other has never delivered: nothing that happened there is known"
    ]


def test_since_when_a_host_is_observed(machine: Machine) -> None:
    machine.host.found(None, "init")
    machine.host.spawn(None, "train")
    machine.deliver()

    (since,) = said(machine, "node")

    assert since.startswith("host node has been observed since 2027-01-15 08:00:00 UTC")
    assert said(machine) == [since]


def test_gaps_losses_and_silence_are_told(machine: Machine) -> None:
    host = machine.host
    host.mark(ingest_pb2.CAPTURE_MARK_BEGAN)
    host.mark(ingest_pb2.CAPTURE_MARK_WALKED)
    host.losses.append(LossRow(1, "touch", 9, 4, 5, "full", host.now_ns, host.now_ns))
    machine.deliver()
    host.now_ns += 60 * SECOND_NS
    host.capture_id += 1
    host.mark(ingest_pb2.CAPTURE_MARK_BEGAN)
    host.mark(ingest_pb2.CAPTURE_MARK_WALKED)
    machine.deliver()

    silence, gap, lost = said(machine, connected=False)

    assert silence.startswith("host node has not been heard of ")
    assert gap.startswith("host node was not observed once, 60 s in all, until 2027-01-15 08:01:00")
    assert lost == "5 records of host node were lost"


def test_only_what_seems_to_run_on_a_host_that_is_away_is_marked(machine: Machine) -> None:
    machine.host.spawn(None, "train")
    machine.deliver()
    batch = "INSERT INTO batch_ledger VALUES ('e1', 1, 1, 1800000000000000000)"
    machine.store.write(lambda writer: writer.execute(batch)).result()
    with machine.store.cursor() as reader:
        away = away_hosts(reader, lambda _: False)
        near = away_hosts(reader, lambda _: True)
    runs = [
        query_pb2.RunSummary(run_id="a", host="node", status="running", complete=True),
        query_pb2.RunSummary(run_id="b", host="node", status="failed", complete=True),
        query_pb2.RunSummary(run_id="c", host="else", status="running", complete=True),
    ]
    told = mark_away(runs, away)

    assert near == {}
    assert [run.complete for run in runs] == [False, True, True]
    assert told == [f"run a may have gone on: {away['node']}"]
    assert runs[0].incomplete_reason == away["node"]
