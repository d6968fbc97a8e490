"""Rows of one batch into the columns and dictionaries of ingest.proto.

Pure. May not decide what goes into a batch; batching.py does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from whence_proto.v1 import ingest_pb2
from whenced.gpu_columns import GPU_TABLES
from whenced.rows import (
    AccessRow,
    AccountRow,
    ChangeRow,
    CodeRow,
    ContainerRow,
    DigestRow,
    EndRow,
    EnvironmentRow,
    FileVersion,
    LossRow,
    MarkRow,
    MetricRow,
    NameRow,
    OriginRow,
    PackageRow,
    ProcessKey,
    Row,
    StartRow,
    StreamRow,
    TagRow,
    UnseenRow,
)


def _dictionary(*unknown: object) -> defaultdict[Any, int]:
    """1-based indexes in order of first use, all in C; the keys for "not known" have index 0."""
    indexes: defaultdict[Any, int] = defaultdict(count(1).__next__)
    indexes.update(dict.fromkeys(unknown, 0))
    return indexes


class _Dictionaries:
    """The three dictionaries of one batch and the base of its times."""

    def __init__(self, base_ns: int) -> None:
        self._base_ns = base_ns
        # The wire has no empty text: 0 stands for it.
        self._texts = _dictionary(None, "")
        self._processes = _dictionary(None)
        self._files = _dictionary(None)
        self.text = self._texts.__getitem__
        self.process = self._processes.__getitem__
        self.file = self._files.__getitem__

    def delta(self, times_ns: Sequence[int]) -> list[int]:
        base_ns = self._base_ns
        return [time_ns - base_ns for time_ns in times_ns]

    def write(self, batch: ingest_pb2.Batch) -> None:
        """Put the dictionaries into the batch; called after every table is filled."""
        batch.strings.extend(_valid_texts(list(self._texts)[2:]))
        for name, column in _columns(ProcessKey, list(self._processes)[1:]).items():
            getattr(batch.process_keys, name).extend(column)
        for name, column in _columns(FileVersion, list(self._files)[1:]).items():
            getattr(batch.file_versions, name).extend(column)


def _valid_texts(texts: list[str]) -> list[str]:
    """Write lone surrogates (names that came through os.fsdecode) as the wire wants them."""
    if all(map(str.isascii, texts)):
        return texts
    return [_SURROGATE.sub(_escaped, text) for text in texts]


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escaped(surrogate: re.Match[str]) -> str:
    # os.fsdecode stores byte NN as U+DCNN.
    return f"\\x{ord(surrogate[0]) & 0xFF:02x}"


def _starts(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.process_starts, _columns(StartRow, rows)
    table.process.extend(map(to.process, column["process"]))
    table.parent.extend(map(to.process, column["parent"]))
    table.at_ns.extend(to.delta(column["at_ns"]))
    table.exe_file.extend(map(to.file, column["exe_file"]))
    table.argument_count.extend(map(len, column["arguments"]))
    for arguments in column["arguments"]:
        table.argument_text.extend(map(to.text, arguments))
    for name in ("exe", "script", "cwd", "user", "cgroup", "command_name"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    for name in _START_NUMBERS:
        getattr(table, name).extend(column[name])


_START_NUMBERS = (
    "origin",
    "arguments_truncated",
    "uid",
    "login_uid",
    "session",
    "process_group",
    "terminal",
    "mount_namespace",
    "pid_namespace",
)


def _ends(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.process_ends
    process, at_ns, exit_code, exit_signal, replaced = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.at_ns.extend(to.delta(at_ns))
    table.exit_code.extend(exit_code)
    table.exit_signal.extend(exit_signal)
    table.replaced.extend(replaced)


def _accesses(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.accesses
    process, file, path, op, ops, moved, first, last, flags, mount = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.file.extend(map(to.file, file))
    table.path_text.extend(map(to.text, path))
    table.op.extend(op)
    table.ops.extend(ops)
    table.bytes.extend(moved)
    table.first_ns.extend(to.delta(first))
    table.last_ns.extend(to.delta(last))
    table.flags.extend(flags)
    table.mount_namespace.extend(mount)


def _names(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.name_changes
    process, change, at_ns, path, new_path, file, directory, mount = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.change.extend(change)
    table.at_ns.extend(to.delta(at_ns))
    table.path_text.extend(map(to.text, path))
    table.new_path_text.extend(map(to.text, new_path))
    table.file.extend(map(to.file, file))
    table.directory.extend(directory)
    table.mount_namespace.extend(mount)


def _digests(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.digests
    file, state, at_ns, blake3, sha256, size_bytes, reason, path = zip(*rows, strict=True)
    table.file.extend(map(to.file, file))
    table.state.extend(state)
    table.at_ns.extend(to.delta(at_ns))
    table.blake3.extend(blake3)
    table.sha256.extend(sha256)
    table.size_bytes.extend(size_bytes)
    table.reason_text.extend(map(to.text, reason))
    table.path_text.extend(map(to.text, path))


def _codes(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.code_states, _columns(CodeRow, rows)
    table.process.extend(map(to.process, column["process"]))
    for name in ("repository", "commit", "branch", "remote"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    table.dirty.extend(column["dirty"])
    table.modified_count.extend(map(len, column["modified"]))
    for modified in column["modified"]:
        table.modified_text.extend(map(to.text, modified))
    table.at_ns.extend(to.delta(column["at_ns"]))


def _streams(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.stream_touches
    process, device, inode, write, at_ns, path = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.device.extend(device)
    table.inode.extend(inode)
    table.write.extend(write)
    table.at_ns.extend(to.delta(at_ns))
    table.path_text.extend(map(to.text, path))


def _blind_spots(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.blind_spots
    process, reason, at_ns = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.reason_text.extend(map(to.text, reason))
    table.at_ns.extend(to.delta(at_ns))


def _losses(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.losses
    record_class, attempted, received, lost, reason, since, until, process = zip(*rows, strict=True)
    table.class_text.extend(map(to.text, record_class))
    table.attempted.extend(attempted)
    table.received.extend(received)
    table.lost.extend(lost)
    table.reason_text.extend(map(to.text, reason))
    table.from_ns.extend(to.delta(since))
    table.until_ns.extend(to.delta(until))
    table.process.extend(map(to.process, process))


def _accounts(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.accounts
    process, at_ns, *numbers = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.at_ns.extend(to.delta(at_ns))
    for name, column in zip(AccountRow._fields[2:], numbers, strict=True):
        getattr(table, name).extend(column)


def _marks(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.capture_marks
    mark, at_ns, alive = zip(*rows, strict=True)
    table.mark.extend(mark)
    table.at_ns.extend(to.delta(at_ns))
    table.alive_count.extend(map(len, alive))
    for processes in alive:
        table.alive.extend(map(to.process, processes))


def _environments(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.environments
    process, variables, truncated = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.truncated.extend(truncated)
    table.variable_count.extend(2 * len(pairs) for pairs in variables)
    for pairs in variables:
        for pair in pairs:
            table.variable_text.extend(map(to.text, pair))


def _packages(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.package_uses
    process, *texts, record, modified, at_ns = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    for name, column in zip(("ecosystem", "name", "version", "location"), texts, strict=True):
        getattr(table, f"{name}_text").extend(map(to.text, column))
    table.record_sha256.extend(record)
    table.modified.extend(modified)
    table.at_ns.extend(to.delta(at_ns))


def _changes(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.code_changes, _columns(ChangeRow, rows)
    table.process.extend(map(to.process, column["process"]))
    for name in ("repository", "path", "commit", "difference", "reason"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    table.change.extend(column["change"])
    table.redacted.extend(column["redacted"])
    table.at_ns.extend(to.delta(column["at_ns"]))


def _origins(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.file_origins, _columns(OriginRow, rows)
    table.file.extend(map(to.file, column["file"]))
    for name in ("publisher", "kind", "repository", "revision", "reference", "name"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    table.at_ns.extend(to.delta(column["at_ns"]))


def _containers(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table, column = batch.containers, _columns(ContainerRow, rows)
    for name in ("id", "runtime", "name", "image", "image_digest"):
        getattr(table, f"{name}_text").extend(map(to.text, column[name]))
    table.at_ns.extend(to.delta(column["at_ns"]))


def _tags(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.job_tags
    process, key, value, removed, inherit, uid, user, at_ns = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.key_text.extend(map(to.text, key))
    table.value_text.extend(map(to.text, value))
    table.removed.extend(removed)
    table.inherit.extend(inherit)
    table.uid.extend(uid)
    table.user_text.extend(map(to.text, user))
    table.at_ns.extend(to.delta(at_ns))


def _metrics(rows: list[Any], to: _Dictionaries, batch: ingest_pb2.Batch) -> None:
    table = batch.job_metrics
    process, name, value, step, at_ns = zip(*rows, strict=True)
    table.process.extend(map(to.process, process))
    table.name_text.extend(map(to.text, name))
    table.value.extend(value)
    table.step.extend(each or 0 for each in step)
    table.has_step.extend(each is not None for each in step)
    table.at_ns.extend(to.delta(at_ns))


def _columns(
    kind: type[
        StartRow | CodeRow | ChangeRow | OriginRow | ContainerRow | ProcessKey | FileVersion
    ],
    rows: list[Any],
) -> dict[str, tuple[Any, ...]]:
    """Columns of the rows by name; of no rows, none."""
    return dict(zip(kind._fields, zip(*rows, strict=True), strict=True)) if rows else {}


_TABLES: dict[type[Row], Callable[[list[Any], Any, ingest_pb2.Batch], None]] = {
    StartRow: _starts,
    EndRow: _ends,
    AccessRow: _accesses,
    NameRow: _names,
    DigestRow: _digests,
    CodeRow: _codes,
    StreamRow: _streams,
    UnseenRow: _blind_spots,
    LossRow: _losses,
    MarkRow: _marks,
    AccountRow: _accounts,
    EnvironmentRow: _environments,
    PackageRow: _packages,
    ChangeRow: _changes,
    OriginRow: _origins,
    ContainerRow: _containers,
    **GPU_TABLES,
    TagRow: _tags,
    MetricRow: _metrics,
}


def fill(batch: ingest_pb2.Batch, rows: Iterable[Row]) -> None:
    """Write rows of any tables into an empty batch whose ``base_ns`` is set, in their order.

    Raises ValueError when a number does not fit its column.
    """
    tables: defaultdict[type[Row], list[Row]] = defaultdict(list)
    for row in rows:
        tables[type(row)].append(row)
    to = _Dictionaries(batch.base_ns)
    for kind, of_kind in tables.items():
        _TABLES[kind](of_kind, to, batch)
    to.write(batch)
