"""Wire columns to rows in dense ids, and those to the columns of the raw tables.

Pure: ids come in as arrays that the dictionaries of the stacked batches index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, chain, groupby, pairwise
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whence_collector.recipe_rows import merged, recipe_rows
from whence_collector.resolved import (
    AccessColumns,
    AccountRow,
    BlindRow,
    CodeRow,
    DigestColumns,
    EndRow,
    LossRow,
    MarkRow,
    MetricRow,
    NameRow,
    ProcessRow,
    RecipeRows,
    ResolvedBatch,
    StreamRow,
    TagRow,
)
from whence_collector.stack import Stack
from whence_collector.word_rows import metric_rows, tag_rows
from whence_proto.v1 import ingest_pb2 as wire

Ints = npt.NDArray[np.int64]

Columns = TypeVar("Columns", AccessColumns, DigestColumns)

LEAST_SURE = max(wire.DigestState.values()) + 1


@dataclass(frozen=True, slots=True)
class StackIds:
    """Dense ids by place in the dictionaries of a stack; at each batch's start 0, not known."""

    processes: Ints  # process_id
    versions: Ints  # version_id
    paths: Ints  # path_id by place in the texts, 0 where the text is no path
    artifacts: Ints  # artifact_id by row of digests, 0 where there is none


def resolve(stack: Stack, ids: StackIds) -> list[ResolvedBatch]:
    """Put the ids in place of indexes and Unix time in place of deltas.

    Batches of one capture, which must follow each other, become one that bears the last number.
    """
    accesses, digests = _accesses(stack, ids), _digests(stack, ids)
    access_ends = np.cumsum([0, *stack.rows("accesses")]).tolist()
    digest_ends = np.cumsum([0, *stack.rows("digests")]).tolist()
    found = []
    for first, last in _captures(stack):
        readers = [_Reader(stack, at, ids) for at in range(first, last)]
        rows = {
            name: tuple(chain.from_iterable(getattr(reader, name)() for reader in readers))
            for name in (*ROW_TABLES, "processes", "marks")
        }
        origin, newest = stack.origins[first], stack.batches[last - 1].message
        found.append(
            ResolvedBatch(
                host_id=origin.host_id,
                boot_id=origin.boot_id,
                epoch=newest.epoch,
                number=newest.number,
                accesses=_part(accesses, slice(access_ends[first], access_ends[last])),
                digests=_part(digests, slice(digest_ends[first], digest_ends[last])),
                recipe=merged([reader.recipe() for reader in readers]),
                capture_id=origin.capture_id,
                **rows,
            )
        )
    return found


def _captures(stack: Stack) -> Iterator[tuple[int, int]]:
    """Yield, for each capture, the first batch and the one after the last."""
    first = 0
    for _, each in groupby(stack.origins, attrgetter("capture_id")):
        last = first + len(list(each))
        yield first, last
        first = last


def _accesses(stack: Stack, ids: StackIds) -> AccessColumns:
    table = "accesses"
    as_sent = ("op", "ops", "bytes", "flags", "mount_namespace")
    return AccessColumns(
        process_id=ids.processes[stack.indexes(table, "process", stack.process)],
        version_id=ids.versions[stack.indexes(table, "file", stack.file)],
        path_id=ids.paths[stack.indexes(table, "path_text", stack.text)],
        first_unix_ns=stack.times(table, "first_ns"),
        last_unix_ns=stack.times(table, "last_ns"),
        **{name: stack.column(table, name) for name in as_sent},
    )


def _digests(stack: Stack, ids: StackIds) -> DigestColumns:
    table = "digests"
    reasons = stack.indexes(table, "reason_text", stack.text)
    reason = np.empty(len(reasons), np.object_)
    for row in np.flatnonzero(stack.column(table, "reason_text")).tolist():
        reason[row] = stack.texts[reasons[row]]
    return DigestColumns(
        version_id=ids.versions[stack.indexes(table, "file", stack.file)],
        state=stack.column(table, "state"),
        artifact_id=ids.artifacts,
        size_bytes=stack.column(table, "size_bytes"),
        reason=reason,
        at_unix_ns=stack.times(table, "at_ns"),
        path_id=ids.paths[stack.indexes(table, "path_text", stack.text)],
    )


def _part(columns: Columns, rows: Any) -> Columns:
    """Return some rows: a slice of them or their numbers."""
    kind = type(columns)
    return kind(**{each.name: getattr(columns, each.name)[rows] for each in fields(kind)})


def together(parts: Sequence[Columns]) -> Columns:
    """Join columns of one kind."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    return kind(
        **{
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(kind)
        }
    )


def all_of(batches: Sequence[ResolvedBatch], name: str) -> tuple[Any, ...]:
    """Return the rows of one kind of all batches."""
    return tuple(chain.from_iterable(map(attrgetter(name), batches)))


# Attribute of ResolvedBatch and reader of it -> table, for rows that are only ever added.
ROW_TABLES = {
    "ends": "process_end",
    "names": "name_change",
    "code_states": "code_state",
    "streams": "stream_touch",
    "losses": "loss",
    "accounts": "account",
    "tags": "tag",
    "metrics": "metric",
    "blind_spots": "blind_spot",
}


def columns_of(rows: Sequence[Any]) -> dict[str, Any]:
    """Turn dataclass rows of one class into columns by field name; no rows give no columns."""
    if not rows:
        return {}
    return {field.name: list(map(attrgetter(field.name), rows)) for field in fields(rows[0])}


def access_columns(accesses: AccessColumns) -> dict[str, Any]:
    """Name the columns of table access."""
    return {field.name: getattr(accesses, field.name) for field in fields(AccessColumns)}


def digest_columns(digests: DigestColumns) -> dict[str, Any]:
    """Name the columns of table version_digest."""
    columns = {field.name: getattr(digests, field.name) for field in fields(DigestColumns)}
    artifact_id = columns["artifact_id"]
    return columns | {"artifact_id": pa.array(artifact_id, mask=artifact_id == 0)}


def newest_description(processes: Sequence[ProcessRow]) -> list[ProcessRow]:
    """Keep the last row of each process: a later description replaces an earlier one."""
    return list({row.process_id: row for row in processes}.values())


def surest(digests: DigestColumns, stored: Mapping[int, int]) -> DigestColumns:
    """Keep at most one digest a version: one surer than its stored state, the first of equals.

    stored: DigestState by version_id. States are numbered from the surest (verified) down.
    """
    count = len(digests.version_id)
    order = np.lexsort((np.arange(count), digests.state, digests.version_id))
    versions = digests.version_id[order]
    best = np.ones(count, np.bool_)
    best[1:] = versions[1:] != versions[:-1]
    kept = np.sort(order[best])
    if stored:
        known = [stored.get(each, LEAST_SURE) for each in digests.version_id[kept].tolist()]
        kept = kept[digests.state[kept] < np.array(known)]
    if len(kept) == count:
        return digests
    return _part(digests, kept)


class _Reader:
    """One batch of a stack, its rows that are no arrays, with what its indexes mean."""

    def __init__(self, stack: Stack, at: int, ids: StackIds) -> None:
        self._batch = stack.batches[at].message
        self._origin = stack.origins[at]
        self._boot_id = self._origin.boot_id
        self._text = stack.texts[stack.text.of(at)]
        self._process: list[int] = ids.processes[stack.process.of(at)].tolist()
        self._versions = ids.versions[stack.file.of(at)]
        self._paths = ids.paths[stack.text.of(at)]
        self._zero_ns = int(stack.zero_ns[at])

    def recipe(self) -> RecipeRows:
        return recipe_rows(self._batch, self._origin, self._process, self._versions.tolist())

    def processes(self) -> list[ProcessRow]:
        starts, keys = self._batch.process_starts, self._batch.process_keys
        if not starts.process:
            return []
        text = self._text
        arguments = _split(starts.argument_count, [text[at] or "" for at in starts.argument_text])
        return [
            ProcessRow(*row)
            for row in zip(
                [self._process[at] for at in starts.process],
                [self._boot_id] * len(arguments),
                _at(keys.tgid, starts.process),
                _at(keys.start_ns, starts.process),
                _at(keys.image, starts.process),
                [self._process[at] or None for at in starts.parent],
                [self._zero_ns + at_ns for at_ns in starts.at_ns],
                starts.origin,
                [text[at] for at in starts.exe_text],
                [at or None for at in self._versions[_ints(starts.exe_file)].tolist()],
                [text[at] for at in starts.script_text],
                arguments,
                starts.arguments_truncated,
                [text[at] for at in starts.cwd_text],
                starts.uid,
                [text[at] for at in starts.user_text],
                starts.login_uid,
                starts.session,
                starts.process_group,
                starts.terminal,
                [text[at] for at in starts.cgroup_text],
                starts.mount_namespace,
                starts.pid_namespace,
                [text[at] for at in starts.command_name_text],
                strict=True,
            )
        ]

    def ends(self) -> list[EndRow]:
        ends = self._batch.process_ends
        columns = (ends.process, ends.at_ns, ends.exit_code, ends.exit_signal, ends.replaced)
        return [
            EndRow(self._process[process], self._zero_ns + at, code, signal, replaced)
            for process, at, code, signal, replaced in zip(*columns, strict=True)
        ]

    def names(self) -> list[NameRow]:
        names = self._batch.name_changes
        if not names.process:
            return []
        path, version = self._paths.tolist(), self._versions.tolist()
        return [
            NameRow(
                process_id=self._process[process],
                change=names.change[row],
                at_unix_ns=self._zero_ns + names.at_ns[row],
                path_id=path[names.path_text[row]],
                new_path_id=path[names.new_path_text[row]],
                version_id=version[names.file[row]] or None,
                directory=names.directory[row],
                mount_namespace=names.mount_namespace[row],
            )
            for row, process in enumerate(names.process)
        ]

    def code_states(self) -> list[CodeRow]:
        states = self._batch.code_states
        if not states.process:
            return []
        text = self._text
        modified = _split(states.modified_count, [text[at] or "" for at in states.modified_text])
        return [
            CodeRow(
                process_id=self._process[process],
                repository=text[states.repository_text[row]] or "",
                commit=text[states.commit_text[row]],
                branch=text[states.branch_text[row]],
                remote=text[states.remote_text[row]],
                dirty=states.dirty[row],
                modified=modified[row],
                at_unix_ns=self._zero_ns + states.at_ns[row],
            )
            for row, process in enumerate(states.process)
        ]

    def streams(self) -> list[StreamRow]:
        touches = self._batch.stream_touches
        return [
            StreamRow(
                process_id=self._process[process],
                boot_id=self._boot_id,
                device=touches.device[row],
                inode=touches.inode[row],
                write=touches.write[row],
                at_unix_ns=self._zero_ns + touches.at_ns[row],
                path=self._text[touches.path_text[row]],
            )
            for row, process in enumerate(touches.process)
        ]

    def blind_spots(self) -> list[BlindRow]:
        spots = self._batch.blind_spots
        return [
            BlindRow(
                process_id=self._process[process],
                reason=self._text[spots.reason_text[row]] or "",
                at_unix_ns=self._zero_ns + spots.at_ns[row],
            )
            for row, process in enumerate(spots.process)
        ]

    def losses(self) -> list[LossRow]:
        losses = self._batch.losses
        processes = losses.process or [0] * len(losses.class_text)
        return [
            LossRow(
                boot_id=self._boot_id,
                record_class=self._text[record_class] or "",
                attempted=losses.attempted[row],
                received=losses.received[row],
                lost=losses.lost[row],
                reason=self._text[losses.reason_text[row]],
                from_unix_ns=self._zero_ns + losses.from_ns[row],
                until_unix_ns=self._zero_ns + losses.until_ns[row],
                process_id=self._process[processes[row]] or None,
            )
            for row, record_class in enumerate(losses.class_text)
        ]

    def accounts(self) -> list[AccountRow]:
        table = self._batch.accounts
        numbers = [getattr(table, field.name) for field in fields(AccountRow)[2:]]
        return [
            AccountRow(self._process[process], self._zero_ns + at_ns, *row)
            for process, at_ns, *row in zip(table.process, table.at_ns, *numbers, strict=True)
        ]

    def marks(self) -> list[MarkRow]:
        marks, keys = self._batch.capture_marks, self._batch.process_keys
        ends = list(accumulate(marks.alive_count, initial=0))
        return [
            MarkRow(
                mark=mark,
                at_unix_ns=self._zero_ns + marks.at_ns[row],
                at_boot_ns=self._batch.base_ns + marks.at_ns[row],
                alive=frozenset(
                    (keys.tgid[at - 1], keys.start_ns[at - 1])
                    for at in marks.alive[ends[row] : ends[row + 1]]
                    if at
                ),
            )
            for row, mark in enumerate(marks.mark)
        ]

    def tags(self) -> list[TagRow]:
        return tag_rows(self._batch, self._process, self._text, self._zero_ns)

    def metrics(self) -> list[MetricRow]:
        return metric_rows(self._batch, self._process, self._text, self._zero_ns)


def _ints(column: Any) -> Ints:
    return np.array(column, np.int64)


def _at(column: Sequence[int], positions: Iterable[int]) -> list[int]:
    """Return the elements of a dictionary's column at positions that count from 1."""
    return [column[at - 1] for at in positions]


def _split(counts: Sequence[int], values: list[str]) -> list[tuple[str, ...]]:
    ends = list(accumulate(counts, initial=0))
    return [tuple(values[begin:end]) for begin, end in pairwise(ends)]
