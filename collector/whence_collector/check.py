"""The rules of ingest.proto, checked on a whole batch before storage is touched.

Pure: it only reads the message and raises InvalidBatch with the first rule that is broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from whence_collector.errors import InvalidBatch
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

Kind = Literal["any", "count", "time", "text", "process", "file", "enum"]


@dataclass(frozen=True, slots=True)
class Column:
    """What one column may hold; known means that 0 (not known) is refused."""

    name: str
    kind: Kind = "any"
    known: bool = False
    highest: int = 0  # of an enum


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of one table of the wire, and its list column if it has one."""

    name: str
    columns: tuple[Column, ...]
    list_count: str = ""
    list_text: str = ""


TABLES = (
    Table(
        "process_starts",
        (
            Column("process", "process", known=True),
            Column("parent", "process"),
            Column("at_ns", "time"),
            Column("origin", "enum", highest=max(wire.ProcessOrigin.values())),
            Column("exe_text", "text"),
            Column("exe_file", "file"),
            Column("script_text", "text"),
            Column("argument_count"),
            Column("arguments_truncated"),
            Column("cwd_text", "text"),
            Column("uid"),
            Column("user_text", "text"),
            Column("login_uid"),
            Column("session"),
            Column("process_group"),
            Column("terminal"),
            Column("cgroup_text", "text"),
            Column("mount_namespace"),
            Column("pid_namespace"),
            Column("command_name_text", "text"),
        ),
        "argument_count",
        "argument_text",
    ),
    Table(
        "process_ends",
        (
            Column("process", "process", known=True),
            Column("at_ns", "time"),
            Column("exit_code"),
            Column("exit_signal"),
            Column("replaced"),
        ),
    ),
    Table(
        "accesses",
        (
            Column("process", "process"),
            Column("file", "file"),
            Column("path_text", "text"),
            Column("op", "enum", highest=max(wire.AccessOp.values())),
            Column("ops", "count"),
            Column("bytes", "count"),
            Column("first_ns", "time"),
            Column("last_ns", "time"),
            Column("flags"),
            Column("mount_namespace"),
        ),
    ),
    Table(
        "name_changes",
        (
            Column("process", "process"),
            Column("change", "enum", highest=max(wire.NameChange.values())),
            Column("at_ns", "time"),
            Column("path_text", "text"),
            Column("new_path_text", "text"),
            Column("file", "file"),
            Column("directory"),
            Column("mount_namespace"),
        ),
    ),
    Table(
        "digests",
        (
            Column("file", "file", known=True),
            Column("state", "enum", highest=max(wire.DigestState.values())),
            Column("blake3"),
            Column("sha256"),
            Column("size_bytes", "count"),
            Column("reason_text", "text"),
            Column("at_ns", "time"),
            Column("path_text", "text"),
        ),
    ),
    Table(
        "code_states",
        (
            Column("process", "process", known=True),
            Column("repository_text", "text", known=True),
            Column("commit_text", "text"),
            Column("branch_text", "text"),
            Column("remote_text", "text"),
            Column("dirty"),
            Column("modified_count"),
            Column("at_ns", "time"),
        ),
        "modified_count",
        "modified_text",
    ),
    Table(
        "stream_touches",
        (
            Column("process", "process"),
            Column("device"),
            Column("inode"),
            Column("write"),
            Column("at_ns", "time"),
            Column("path_text", "text"),
        ),
    ),
    Table(
        "losses",
        (
            Column("class_text", "text", known=True),
            Column("attempted", "count"),
            Column("received", "count"),
            Column("lost", "count"),
            Column("reason_text", "text"),
            Column("from_ns", "time"),
            Column("until_ns", "time"),
        ),
    ),
    Table(
        "environments",
        (
            Column("process", "process", known=True),
            Column("truncated"),
            Column("variable_count"),
        ),
        "variable_count",
        "variable_text",
    ),
    Table(
        "package_uses",
        (
            Column("process", "process", known=True),
            Column("ecosystem_text", "text", known=True),
            Column("name_text", "text", known=True),
            Column("version_text", "text"),
            Column("location_text", "text"),
            Column("record_sha256"),
            Column("modified"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "code_changes",
        (
            Column("process", "process", known=True),
            Column("repository_text", "text", known=True),
            Column("path_text", "text", known=True),
            Column("change", "enum", highest=max(wire.CodeChange.values())),
            Column("commit_text", "text"),
            Column("difference_text", "text"),
            Column("reason_text", "text"),
            Column("redacted"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "file_origins",
        (
            Column("file", "file", known=True),
            Column("publisher_text", "text", known=True),
            Column("kind_text", "text", known=True),
            Column("repository_text", "text", known=True),
            Column("revision_text", "text"),
            Column("reference_text", "text"),
            Column("name_text", "text"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "containers",
        (
            Column("id_text", "text", known=True),
            Column("runtime_text", "text"),
            Column("name_text", "text"),
            Column("image_text", "text"),
            Column("image_digest_text", "text"),
            Column("at_ns", "time"),
        ),
    ),
)

DICTIONARIES = (
    Table("process_keys", (Column("tgid"), Column("start_ns", "count"), Column("image"))),
    Table(
        "file_versions",
        (Column("device"), Column("inode"), Column("generation"), Column("version")),
    ),
)


def check(batch: wire.Batch) -> None:
    """Return when every rule holds.

    Raises InvalidBatch with one sentence that names the table, column and row.
    """
    _check_header(batch)
    sizes = {
        "text": len(batch.strings),
        "process": len(batch.process_keys.tgid),
        "file": len(batch.file_versions.device),
    }
    for table in DICTIONARIES + TABLES:
        _check_table(table, getattr(batch, table.name), sizes)
    _check_digests(batch.digests)
    _check_variables(batch.environments)


def row_count(batch: wire.Batch) -> int:
    """Count the rows of all tables, dictionaries left out."""
    return sum(len(getattr(getattr(batch, each.name), each.columns[0].name)) for each in TABLES)


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


def _check_table(table: Table, message: Any, sizes: dict[str, int]) -> None:
    rows = len(getattr(message, table.columns[0].name))
    for column in table.columns:
        length = len(getattr(message, column.name))
        if length != rows:
            raise InvalidBatch(
                f"column {table.name}.{column.name} has {length} rows where "
                f"{table.columns[0].name} has {rows}; all columns of a table are equally long"
            )
    if table.list_count:
        _check_list(table, message, sizes["text"])
    if not rows:
        return
    for column in table.columns:
        if column.kind != "any":
            _check_values(table.name, column, getattr(message, column.name), sizes)


def _check_list(table: Table, message: Any, texts: int) -> None:
    counted = sum(getattr(message, table.list_count))
    listed = getattr(message, table.list_text)
    if counted != len(listed):
        raise InvalidBatch(
            f"column {table.name}.{table.list_text} has {len(listed)} elements where "
            f"{table.list_count} adds up to {counted}; the two must agree"
        )
    if listed and max(listed) > texts:
        raise InvalidBatch(
            f"column {table.name}.{table.list_text} points to text {max(listed)} of {texts}"
        )


def _check_values(table: str, column: Column, values: Any, sizes: dict[str, int]) -> None:
    lowest, highest, why = _bounds(column, sizes)
    if _all_within(values, lowest, highest, wide=column.kind == "count"):
        return
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


def _check_digests(digests: wire.Digests) -> None:
    blake3_bytes, sha256_bytes = list(map(len, digests.blake3)), list(map(len, digests.sha256))
    expected = [
        _blake3_bytes(state, *sizes)
        for state, *sizes in zip(digests.state, blake3_bytes, sha256_bytes, strict=True)
    ]
    if blake3_bytes != expected:
        row = next(row for row, size in enumerate(expected) if blake3_bytes[row] != size)
        raise InvalidBatch(
            f"column digests.blake3 row {row} has {blake3_bytes[row]} bytes, which does not fit "
            f"the state {wire.DigestState.Name(digests.state[row])}"
        )
    for row, size in enumerate(sha256_bytes):
        if size not in (0, SHA256_BYTES):
            raise InvalidBatch(f"column digests.sha256 row {row} has {size} bytes, not 32")


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
