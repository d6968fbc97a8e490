"""Client against a collector over real gRPC: what is asked, what comes back, what fails how."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import grpc
import pytest
from tests.unit import client_samples as samples
from tests.unit.client_samples import MODEL_DIGEST, PREPARE_ID, TRAIN_ID

from whence import (
    Client,
    MisuseError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    WhenceError,
)
from whence.client import Rows
from whence.model import Status
from whence.sql import write_objects
from whence.testing import Answers, Table, serve
from whence_proto.v1 import query_pb2 as wire

ANSWERS = Answers(
    found={MODEL_DIGEST: samples.found()},
    runs=[samples.detail(), wire.RunDetail(run=samples.prepare())],
    lineages={MODEL_DIGEST: samples.lineage()},
    tables={"FROM runs": Table(["run_id", "n"], [["a", 1], ["b", None]], truncated=True)},
    status=samples.status(),
)


def test_every_question_is_answered_with_dataclasses() -> None:
    with serve(ANSWERS) as collector, Client(collector.address) as client:
        found = client.find(MODEL_DIGEST, "/a", "gpu-07")
        runs = client.list_runs(user="alice", limit=1)
        detail = client.get_run("4f0c")
        lineage = client.lineage(MODEL_DIGEST, depth=2)
        status = client.status()

    assert found.artifact is not None
    assert found.artifact.digest == MODEL_DIGEST
    assert ([run.run_id for run in runs.runs], runs.truncated) == ([TRAIN_ID], True)
    assert detail.outputs[0].class_ == "model"
    assert [run.run_id for run in lineage.runs] == [TRAIN_ID, PREPARE_ID]
    assert (status.daemons[0].host, dict(status.rows)) == ("gpu-07", {"process": 7, "access": 1234})


def test_what_is_not_asked_for_is_absent_on_the_wire() -> None:
    with serve(ANSWERS) as collector, Client(collector.address) as client:
        client.find(digest=MODEL_DIGEST)
        client.list_runs(gpu=False, every=True)

    assert collector.asked == [
        wire.FindRequest(digest=MODEL_DIGEST),
        wire.ListRunsRequest(gpu=False, all=True),
    ]


def test_sql_comes_piece_by_piece() -> None:
    with serve(ANSWERS) as collector, Client(collector.address) as client:
        pieces = list(client.sql("SELECT * FROM runs", max_rows=2))

    assert pieces == [
        Rows(("run_id", "n"), (), False),
        Rows((), (("a", 1),), False),
        Rows((), (("b", None),), False),
        Rows((), (), True),
    ]


CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (CODES.NOT_FOUND, NotFoundError, "the collector's sentence"),
        (CODES.INVALID_ARGUMENT, MisuseError, "the collector's sentence"),
        (CODES.PERMISSION_DENIED, RefusedError, "the collector's sentence"),
        (CODES.RESOURCE_EXHAUSTED, RefusedError, "the collector's sentence"),
        (CODES.FAILED_PRECONDITION, RefusedError, "the collector's sentence"),
        (CODES.UNAVAILABLE, UnreachableError, "the collector's sentence"),
        (
            CODES.UNIMPLEMENTED,
            RefusedError,
            "does not know this question: a newer collector does",
        ),
        (CODES.INTERNAL, RefusedError, "failed with INTERNAL: the collector's sentence"),
    ],
)
def test_failures_become_what_a_user_can_act_on(
    code: grpc.StatusCode, kind: type[WhenceError], sentence: str
) -> None:
    failing = Answers(failures={"Status": (code, "the collector's sentence")})

    with (
        serve(failing) as collector,
        Client(collector.address) as client,
        pytest.raises(WhenceError) as told,
    ):
        client.status()

    assert type(told.value) is kind
    assert sentence in str(told.value)


def test_a_statement_that_fails_does_so_too() -> None:
    with (
        serve(ANSWERS) as collector,
        Client(collector.address) as client,
        pytest.raises(MisuseError, match="not understood"),
    ):
        list(client.sql("SELECT nonsense"))


def test_nobody_there() -> None:
    with serve(ANSWERS) as collector:
        address = collector.address

    with Client(address) as client, pytest.raises(UnreachableError) as told:
        client.status()

    assert str(told.value) == (
        f"no collector answers at {address}: start it with `make up` or set WHENCE_ADDRESS"
    )


def test_a_collector_that_comes_back_is_found_again() -> None:
    with serve(ANSWERS) as first:
        address = first.address
        client = Client(address)
        client.status()
    with pytest.raises(UnreachableError):
        client.status()

    with serve(ANSWERS, address) as again, client:
        # The channel waits a moment between its tries; it may not wait for ever.
        found = _ask_until_answered(client)

    assert (found.version, again.address) == ("0.1.0", address)


def _ask_until_answered(client: Client, tries: int = 200) -> Status:
    for _ in range(tries):
        try:
            return client.status()
        except UnreachableError:
            time.sleep(0.05)
    raise AssertionError("the collector was not found again")


def test_a_channel_may_be_given() -> None:
    with serve(ANSWERS) as collector:
        channel = grpc.insecure_channel(collector.address)
        with Client(channel=channel) as client:
            version = client.status().version

    assert version == "0.1.0"


def test_objects_are_written_while_pieces_arrive() -> None:
    out = io.StringIO()
    written: list[str] = []

    def pieces() -> Iterator[Rows]:
        yield Rows(("a", "a"), ((1, 2),), False)
        written.append(out.getvalue())
        yield Rows((), ((3, None),), True)

    assert write_objects(out, pieces()) == (2, True)
    assert written == ['[\n{"a": 1, "a_2": 2}']
    assert json.loads(out.getvalue()) == [{"a": 1, "a_2": 2}, {"a": 3, "a_2": None}]


def test_no_rows_are_an_empty_array() -> None:
    out = io.StringIO()

    assert write_objects(out, iter([Rows(("a",), (), False)])) == (0, False)
    assert out.getvalue() == "[]\n"


def test_a_statement_that_is_refused_leaves_nothing_written() -> None:
    out = io.StringIO()

    def refused() -> Iterator[Rows]:
        raise MisuseError("no such view")
        yield

    with pytest.raises(MisuseError):
        write_objects(out, refused())
    assert out.getvalue() == ""
