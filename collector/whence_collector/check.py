"""The rules of ingest.proto, checked on a whole batch before storage is touched.

Pure: it only reads the message and raises InvalidBatch with the first rule that is broken. What it
had to turn into arrays for that it hands on, for a column costs the same again each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.errors import InvalidBatch
from whence_collector.wire_table import Column, Table
from whence_collector.wire_tables import DICTIONARIES, TABLES
from whence_proto.v1 import ingest_pb2 as wire

# Three of these add up to less than 2**63, so no time can wrap around.
BASE_LIMIT_NS = 1 << 60
OFFSET_LIMIT_NS = 1 << 62
DELTA_LIMIT_NS = 1 << 60
COUNT_LIMIT = 1 << 63
EPOCH_LIMIT_CHARS = 64
BLAKE3_BYTES = 32
FEW = 50  # values that Python compares faster than numpy
SHA256_BYTES = 32
HASHED = (wire.DIGEST_STATE_VERIFIED, wire.DIGEST_STATE_ASSERTED)

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch that keeps every rule.

    arrays holds, by table and column, the numbers of the tables that have rows and are wanted as
    arrays: in the type of the wire, counts as int64.
    """

    message: wire.Batch
    rows: int  # of all tables, dictionaries left out
    arrays: Mapping[str, Mapping[str, Array]]


def check(batch: wire.Batch) -> Checked:
    """Return the batch when every rule holds.

    Raises InvalidBatch with one sentence that names the table, column and row.
    """
    _check_header(batch)
    sizes = {
        "text": len(batch.strings),
        "process": len(batch.process_keys.tgid),
        "file": len(batch.file_versions.device),
    }
    arrays: dict[str, dict[str, Array]] = {}
    rows = 0
    for table in DICTIONARIES:
        _check_table(table, getattr(batch, table.name), sizes, arrays)
    for table in TABLES:
        rows += _check_table(table, getattr(batch, table.name), sizes, arrays)
    if digests := arrays.get("digests"):
        _check_digests(batch.digests, digests["state"])
    _check_variables(batch.environments)
    return Checked(batch, rows, arrays)


def _check_header(batch: wire.Batch) -> None:
    for name in ("host", "boot_id", "epoch"):
        if not getattr(batch, name):
            raise InvalidBatch(f"batch field {name} is empty; every batch names it")
    if len(batch.epoch) > EPOCH_LIMIT_CHARS:
        raise InvalidBatch(f"batch field epoch is longer than {EPOCH_LIMIT_CHARS} characters")
    if not 0 < batch.number < COUNT_LIMIT:
        raise InvalidBatch(f"batch number {batch.number} is out of range; numbers begin at 1")
    if batch.base_ns >= BASE_LIMIT_NS:
        raise InvalidBatch(f"batch field base_ns {batch.base_ns} is no boot-clock time")
    if abs(batch.wall_offset_ns) >= OFFSET_LIMIT_NS:
        raise InvalidBatch(f"batch field wall_offset_ns {batch.wall_offset_ns} is no clock offset")


def _check_table(
    table: Table, message: Any, sizes: dict[str, int], arrays: dict[str, dict[str, Array]]
) -> int:
    """Check one table, add its arrays if it has rows and they are wanted; return its rows."""
    columns = [getattr(message, column.name) for column in table.columns]
    lengths = list(map(len, columns))
    rows = lengths[0]
    if lengths.count(rows) != len(lengths):
        for column, length in zip(table.columns, lengths, strict=True):
            if length != rows and (length or not column.late):
                raise InvalidBatch(
                    f"column {table.name}.{column.name} has {length} rows where "
                    f"{table.columns[0].name} has {rows}; all columns of a table are equally long"
                )
    if table.list_count:
        _check_list(table, message, sizes[table.list_of])
    if not rows:
        return 0
    if table.as_arrays:
        arrays[table.name] = {
            column.name: _array(table.name, column, values, sizes)
            for column, values in zip(table.columns, columns, strict=True)
            if column.kind != "bytes"
        }
        return rows
    for column, values in zip(table.columns, columns, strict=True):
        if column.kind != "any" and len(values):
            _check_values(table.name, column, values, sizes)
    return rows


def _check_list(table: Table, message: Any, size: int) -> None:
    counted = sum(getattr(message, table.list_count))
    listed = getattr(message, table.list_text)
    if counted != len(listed):
        raise InvalidBatch(
            f"column {table.name}.{table.list_text} has {len(listed)} elements where "
            f"{table.list_count} adds up to {counted}; the two must agree"
        )
    if listed and max(listed) > size:
        raise InvalidBatch(
            f"column {table.name}.{table.list_text} points to {table.list_of} {max(listed)} "
            f"of {size}"
        )


def _array(table: str, column: Column, values: Any, sizes: dict[str, int]) -> Array:
    """Return a column as an array, each value within its bounds."""
    array = np.array(values)
    if column.kind == "any":
        return array
    if column.kind == "count":
        array = array.view(np.int64)  # what does not fit is negative
    lowest, highest, why = _bounds(column, sizes)
    # Where the type cannot hold what is too low, or a count what is too high, nobody need look.
    low = (lowest != 0 or column.kind == "count") and int(np.minimum.reduce(array)) < lowest
    if low or (column.kind != "count" and int(np.maximum.reduce(array)) > highest):
        _refuse(table, column, values, (lowest, highest, why))
    return array


def _check_values(table: str, column: Column, values: Any, sizes: dict[str, int]) -> None:
    bounds = _bounds(column, sizes)
    if not _all_within(values, *bounds[:2], wide=column.kind == "count"):
        _refuse(table, column, values, bounds)


def _refuse(table: str, column: Column, values: Any, bounds: tuple[int, int, str]) -> None:
    lowest, highest, why = bounds
    for row, value in enumerate(values):
        if value < lowest or value > highest:
            unknown = column.known and value == 0
            raise InvalidBatch(
                f"column {table}.{column.name} row {row} holds {value}: "
                f"{'not known, and this column must be' if unknown else why}"
            )


def _all_within(values: Any, lowest: int, highest: int, *, wide: bool) -> bool:
    """Tell whether all values lie in a range; wide ones may not fit 63 bits."""
    if len(values) < FEW:
        return bool(min(values) >= lowest and max(values) <= highest)
    array = np.array(values, np.uint64 if wide else np.int64)
    least = 0 if lowest == 0 else int(array.min())
    return least >= lowest and int(array.max()) <= highest


def _bounds(column: Column, sizes: dict[str, int]) -> tuple[int, int, str]:
    """Return the least and greatest value that a column may hold, and what others are."""
    if column.kind == "time":
        return -DELTA_LIMIT_NS, DELTA_LIMIT_NS, "out of range"
    if column.kind == "count":
        return 0, COUNT_LIMIT - 1, "out of range"
    if column.kind == "enum":
        return 1, column.highest, "not a value of its enumeration"
    size = sizes[column.kind]
    return int(column.known), size, f"past the {size} that the batch holds"


def _check_digests(digests: wire.Digests, state: Array) -> None:
    blake3_bytes, sha256_bytes = list(map(len, digests.blake3)), list(map(len, digests.sha256))
    expected = [BLAKE3_BYTES if each in HASHED else 0 for each in state.tolist()]
    if blake3_bytes != expected:
        expected = list(map(_blake3_bytes, state.tolist(), blake3_bytes, sha256_bytes))
    if blake3_bytes != expected:
        row = next(row for row, size in enumerate(expected) if blake3_bytes[row] != size)
        raise InvalidBatch(
            f"column digests.blake3 row {row} has {blake3_bytes[row]} bytes, which does not fit "
            f"the state {wire.DigestState.Name(digests.state[row])}"
        )
    if not {0, SHA256_BYTES}.issuperset(sha256_bytes):
        row = next(row for row, size in enumerate(sha256_bytes) if size not in (0, SHA256_BYTES))
        raise InvalidBatch(f"column digests.sha256 row {row} has {sha256_bytes[row]} bytes, not 32")


def _blake3_bytes(state: int, blake3_bytes: int, sha256_bytes: int) -> int:
    """Return how long a digest has to be: a publisher may assert SHA-256 alone."""
    if state == wire.DIGEST_STATE_ASSERTED and not blake3_bytes and sha256_bytes:
        return 0
    return BLAKE3_BYTES if state in HASHED else 0


def _check_variables(environments: wire.Environments) -> None:
    for row, texts in enumerate(environments.variable_count):
        if texts % 2:
            raise InvalidBatch(
                f"column environments.variable_count row {row} holds {texts}: names and values "
                "come in pairs"
            )
