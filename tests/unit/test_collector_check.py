"""Every rule of ingest.proto refuses a batch that breaks it, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.collector_batches import one_of_each

from whence_collector.check import check
from whence_collector.errors import InvalidBatch
from whence_collector.wire_tables import TABLES
from whence_proto.v1 import ingest_pb2 as wire


def refusal(spoil: Callable[[wire.Batch], Any]) -> str:
    batch = one_of_each()
    spoil(batch)
    with pytest.raises(InvalidBatch) as caught:
        check(batch)
    return str(caught.value)


def test_a_whole_batch_passes_and_counts_the_rows_of_all_tables() -> None:
    batch = one_of_each()

    assert check(batch).rows == 26


def test_a_column_that_a_daemon_of_before_leaves_out_is_not_missed() -> None:
    batch = one_of_each()
    del batch.losses.process[:]

    assert check(batch).rows == 26


def test_a_list_of_processes_stays_within_the_dictionary() -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.capture_marks.alive[0] = 1000

    sentence = refusal(spoil)

    assert sentence.startswith("column capture_marks.alive points to process 1000 of ")


def test_an_empty_batch_passes() -> None:
    batch = wire.Batch(host="h", boot_id="b", epoch="e", number=1)

    assert check(batch).rows == 0


@pytest.mark.parametrize("field", ["host", "boot_id", "epoch"])
def test_an_empty_header_field_is_refused(field: str) -> None:
    sentence = refusal(lambda batch: setattr(batch, field, ""))

    assert sentence == f"batch field {field} is empty; every batch names it"


@pytest.mark.parametrize(
    ("field", "value"),
    [("number", 0), ("number", 2**63), ("base_ns", 2**63), ("wall_offset_ns", -(2**63))],
)
def test_a_header_number_out_of_range_is_refused(field: str, value: int) -> None:
    sentence = refusal(lambda batch: setattr(batch, field, value))

    assert str(value) in sentence


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table.name, column.name)
        for table in TABLES
        for column in table.columns[1:]
        if not column.late
    ],
)
def test_a_column_that_is_shorter_than_its_table_is_refused(table: str, column: str) -> None:
    sentence = refusal(lambda batch: getattr(getattr(batch, table), column).pop())

    assert sentence.startswith(f"column {table}.{column} has ")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table.name, column.name)
        for table in TABLES
        for column in table.columns
        if column.kind in ("text", "process", "file")
    ],
)
def test_an_index_past_its_dictionary_is_refused(table: str, column: str) -> None:
    def spoil(batch: wire.Batch) -> None:
        getattr(getattr(batch, table), column)[0] = 1000

    sentence = refusal(spoil)

    assert sentence.startswith(f"column {table}.{column} row 0 holds 1000: past the ")


@pytest.mark.parametrize(
    ("table", "column"),
    [(table.name, column.name) for table in TABLES for column in table.columns if column.known],
)
def test_an_unknown_index_is_refused_where_the_row_needs_it(table: str, column: str) -> None:
    def spoil(batch: wire.Batch) -> None:
        getattr(getattr(batch, table), column)[0] = 0

    sentence = refusal(spoil)

    assert sentence.endswith("holds 0: not known, and this column must be")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("process_starts", "origin", 0),
        ("process_starts", "origin", 4),
        ("accesses", "op", 6),
        ("name_changes", "change", 5),
        ("digests", "state", 9),
    ],
)
def test_a_number_that_is_no_enumeration_value_is_refused(
    table: str, column: str, value: int
) -> None:
    def spoil(batch: wire.Batch) -> None:
        getattr(getattr(batch, table), column)[0] = value

    sentence = refusal(spoil)

    assert sentence == (
        f"column {table}.{column} row 0 holds {value}: not a value of its enumeration"
    )


@pytest.mark.parametrize("value", [2**62, -(2**63)])
def test_a_time_that_would_wrap_around_is_refused(value: int) -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.accesses.first_ns[1] = value

    sentence = refusal(spoil)

    assert sentence == f"column accesses.first_ns row 1 holds {value}: out of range"


def test_a_count_that_does_not_fit_the_database_is_refused() -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.accesses.bytes[0] = 2**63

    sentence = refusal(spoil)

    assert sentence == f"column accesses.bytes row 0 holds {2**63}: out of range"


def test_argument_counts_that_do_not_add_up_are_refused() -> None:
    sentence = refusal(lambda batch: batch.process_starts.argument_text.append(1))

    assert sentence == (
        "column process_starts.argument_text has 4 elements where argument_count adds up to 3; "
        "the two must agree"
    )


def test_an_argument_past_the_strings_is_refused() -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.process_starts.argument_text[0] = 999

    sentence = refusal(spoil)

    assert sentence.startswith("column process_starts.argument_text points to text 999 of ")


@pytest.mark.parametrize(
    ("state", "length"),
    [
        (wire.DIGEST_STATE_VERIFIED, 31),
        (wire.DIGEST_STATE_VERIFIED, 0),
        (wire.DIGEST_STATE_TORN, 32),
        (wire.DIGEST_STATE_UNHASHED, 32),
    ],
)
def test_a_digest_that_does_not_fit_its_state_is_refused(
    state: wire.DigestState.ValueType, length: int
) -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.digests.state[0] = state
        batch.digests.blake3[0] = b"d" * length

    sentence = refusal(spoil)

    assert sentence == (
        f"column digests.blake3 row 0 has {length} bytes, which does not fit the state "
        f"{wire.DigestState.Name(state)}"
    )


def test_a_sha256_of_another_length_is_refused() -> None:
    def spoil(batch: wire.Batch) -> None:
        batch.digests.sha256[1] = b"short"

    sentence = refusal(spoil)

    assert sentence == "column digests.sha256 row 1 has 5 bytes, not 32"
