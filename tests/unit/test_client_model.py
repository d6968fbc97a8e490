"""Messages of the wire → dataclasses → documents; which production answers a question."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from tests.unit.client_samples import COPY_ID, CWD, TRAIN_ID, copied, edge, found, trained

from whence.model import FileEdge, Found, RunDetail, document, from_wire, order_productions
from whence.model_ancestry import KINDS
from whence_proto.v1 import ancestry_pb2, tags_pb2
from whence_proto.v1 import query_pb2 as wire

FILES = (wire, tags_pb2, ancestry_pb2)
# Parts of requests, which answers do not hold.
ASKED = {"TagChange", "TreeMembers", "TreeBucket"}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_dataclass_has_the_fields_of_its_message(name: str) -> None:
    message = next(getattr(file, name) for file in FILES if hasattr(file, name))

    assert [field.name.rstrip("_") for field in fields(KINDS[name])] == [
        field.name for field in message.DESCRIPTOR.fields
    ]


def test_every_message_of_an_answer_has_a_dataclass() -> None:
    messages = {name for file in FILES for name in file.DESCRIPTOR.message_types_by_name}
    requests = {name for name in messages if name.endswith("Request")}

    assert messages - requests - ASKED == {*KINDS, "SqlChunk"}


def test_absent_is_none_and_zero_is_zero() -> None:
    known = from_wire(FileEdge, edge("/a", None, "data", size_bytes=0))

    assert (known.digest, known.size_bytes, known.bytes, known.class_) == (None, 0, None, "data")


def test_nested_messages_become_dataclasses() -> None:
    answer = from_wire(Found, found())

    assert [production.run.run_id for production in answer.productions] == [COPY_ID, TRAIN_ID]
    assert answer.productions[0].process is None
    assert answer.productions[1].process is not None
    assert answer.productions[1].process.pid == 4711


def test_a_message_that_must_be_there_is_empty_when_it_is_not() -> None:
    assert from_wire(RunDetail, wire.RunDetail()).run.run_id == ""


def test_document_is_json_with_every_key() -> None:
    read = json.loads(json.dumps(document(from_wire(FileEdge, edge("/a", None, "code")))))

    assert read["class"] == "code"
    assert read["digest"] is None
    assert set(read) == {field.name for field in wire.FileEdge.DESCRIPTOR.fields}


@pytest.mark.parametrize(
    ("path", "host", "expected"),
    [
        (f"{CWD}/model.pt", "gpu-07", TRAIN_ID),
        (f"{CWD}/best.pt", "gpu-07", COPY_ID),
        ("/elsewhere/model.pt", "gpu-07", TRAIN_ID),
        (f"{CWD}/best.pt", "laptop", TRAIN_ID),
        (None, None, TRAIN_ID),
    ],
    ids=["the original", "the copy", "moved", "same path on another host", "by digest"],
)
def test_the_production_that_answers_comes_first(
    path: str | None, host: str | None, expected: str
) -> None:
    ordered = order_productions(from_wire(Found, found()), path, host)

    assert ordered[0].run.run_id == expected
    assert len(ordered) == 2


def test_the_other_productions_stay_newest_first() -> None:
    many = wire.FindReply(
        artifact=found().artifact, productions=[copied(), copied(), trained(), copied()]
    )
    many.productions[1].path = "/second"
    many.productions[3].path = "/fourth"

    ordered = order_productions(from_wire(Found, many), None, None)

    assert [p.path for p in ordered] == [
        f"{CWD}/model.pt",
        f"{CWD}/best.pt",
        "/second",
        "/fourth",
    ]


def test_nothing_found_has_no_order() -> None:
    assert order_productions(from_wire(Found, wire.FindReply()), "/a", None) == ()
