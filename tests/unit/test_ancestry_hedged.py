"""What answers about lineage say beside the answer: caveats, sources, the cost of steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.ancestry_asked import Ancestry
from tests.unit.traced import Machine, digest_of

from whence_collector.answers_repeats import costs_of
from whence_collector.derive import Deriver
from whence_collector.store import Store, Writer
from whence_proto.v1 import ancestry_pb2 as wire


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Ancestry]:
    """A machine on which one model was trained of two data sets."""
    store = Store(tmp_path / "whence.duckdb")
    found = Ancestry(Machine(store, Deriver))
    host = found.host
    script = host.spawn(None, "sh", "all.sh")
    train = host.spawn(script, "python", "train.py")
    for number, name in enumerate(("raw.csv", "hub.csv")):
        host.read(train, 10 + number, f"/d/{name}")
        host.digest(10 + number, name)
    host.write(train, 30, "/d/model.pt")
    host.digest(30, "model")
    for process in (train, script):
        host.end(process)
    found.settle()
    try:
        yield found
    finally:
        store.close()


def test_no_answer_hides_that_a_host_is_not_heard_of(asked: Ancestry) -> None:
    subject = digest_of("model")
    read = asked.about(
        "Touched", wire.TouchedRequest(subject=subject, digests=[digest_of("raw.csv")])
    )
    not_read = asked.about(
        "Touched", wire.TouchedRequest(subject=subject, digests=[digest_of("other")])
    )
    roots = asked.about("RootInputs", wire.RootInputsRequest(subject=subject))
    repeats = asked.about("Duplicates", wire.DuplicatesRequest())

    assert (read.verdict, list(read.caveats)) == ("yes", [])
    for reply in (not_read, roots, repeats):
        assert reply.caveats[0].startswith("host node has not been heard of")


@pytest.mark.parametrize(
    ("sourced", "expected"),
    [(None, ["/d/hub.csv", "/d/raw.csv"]), (True, ["/d/hub.csv"]), (False, ["/d/raw.csv"])],
)
def test_root_data_is_listed_by_whether_its_source_is_known(
    asked: Ancestry, sourced: bool | None, expected: list[str]
) -> None:
    asked.machine.store.write(
        lambda writer: writer.append(
            "file_origin",
            {
                "version_id": [11],
                "kind": ["dataset"],
                "at_unix_ns": [1],
                "publisher": ["huggingface"],
                "repository": ["org/data"],
                "revision": ["abc"],
                "name": ["hub.csv"],
            },
        )
    ).result()
    request = wire.RootInputsRequest(subject=digest_of("model"), sourced=sourced)

    reply = asked.about("RootInputs", request)

    assert [each.file.path for each in reply.inputs] == expected


def test_a_cost_includes_the_steps(asked: Ancestry) -> None:
    runs: dict[str, str] = dict(asked.machine.rows("SELECT command, run_id FROM run"))
    spend(asked, runs["python train.py"], 2_500_000, 1)

    with asked.machine.store.cursor() as reader:
        costs = costs_of(reader, [runs["sh all.sh"]])
    spend(asked, runs["sh all.sh"], 1_000_000, None)
    with asked.machine.store.cursor() as reader:
        without_price = costs_of(reader, [runs["sh all.sh"]])

    assert runs["sh all.sh"] != runs["python train.py"]
    assert (costs, without_price) == ({runs["sh all.sh"]: 2.5}, {})


def spend(asked: Ancestry, run_id: str, micro_usd: int, price_id: int | None) -> None:
    """Charge something to the processes of a run."""

    def charge(writer: Writer) -> None:
        writer.execute(
            "INSERT INTO spend_ledger BY NAME SELECT 1 AS entry_id, 'charge' AS entry_kind, "
            "1 AS host_id, 'GPU-1' AS gpu_uuid, 0 AS from_ns, 9 AS until_ns, 'held' AS part, "
            "process_id, 9 AS alloc_ns, ?::BIGINT AS micro_usd, ?::INTEGER AS price_id, "
            "'r1' AS method, 1 AS written_ns FROM process_run WHERE run_id = ?",
            (micro_usd, price_id, run_id),
        )

    asked.machine.store.write(charge).result()
