"""Wire columns to rows in dense ids, and those to the columns of the raw tables.

Pure: ids come in as arrays that the dictionaries of the batch index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whence_collector.hosts import Origin
from whence_collector.identity import PROCESS_KEY, VERSION_KEY
from whence_collector.recipe_rows import merged, recipe_rows
from whence_collector.resolved import (
    AccessColumns,
    CodeRow,
    DigestColumns,
    EndRow,
    LossRow,
    NameRow,
    ProcessRow,
    ResolvedBatch,
    StreamRow,
)
from whence_proto.v1 import ingest_pb2 as wire

Ints = npt.NDArray[np.int64]

Stacked = TypeVar("Stacked", AccessColumns, DigestColumns)

LEAST_SURE = max(wire.DigestState.values()) + 1


@dataclass(frozen=True, slots=True)
class BatchIds:
    """Dense ids under the batch's own indexes; element 0 of the first three is 0 (not known)."""

    processes: Ints  # process_id by index into process_keys
    versions: Ints  # version_id by index into file_versions
    paths: Ints  # path_id by index into strings, 0 where the text is no path
    artifacts: Ints  # artifact_id by row of digests, 0 where there is none


def path_positions(batch: wire.Batch) -> Ints:
    """Return the distinct indexes into strings that are used as the path of a file."""
    used = (
        batch.accesses.path_text,
        batch.name_changes.path_text,
        batch.name_changes.new_path_text,
        batch.digests.path_text,
    )
    found = np.zeros(len(batch.strings) + 1, np.bool_)
    for column in used:
        found[_ints(column)] = True
    found[0] = False
    return np.flatnonzero(found)


def texts_at(batch: wire.Batch, positions: Ints) -> list[str]:
    """Return the strings at positions that count from 1."""
    texts = ["", *batch.strings]
    return [texts[at] for at in positions.tolist()]


def process_keys(batch: wire.Batch, origin: Origin) -> list[bytes]:
    """Return the identity of each process that the batch names."""
    of = batch.process_keys
    keys = np.empty(len(of.tgid), PROCESS_KEY)
    keys["boot_id"] = origin.boot_id
    for name in ("tgid", "start_ns", "image"):
        keys[name] = np.array(getattr(of, name), PROCESS_KEY[name])
    return _as_bytes(keys)


def version_keys(batch: wire.Batch, origin: Origin) -> list[bytes]:
    """Return the identity of each file version that the batch names.

    The capture belongs to it: a daemon that starts again counts versions from 0 again.
    """
    of = batch.file_versions
    keys = np.empty(len(of.device), VERSION_KEY)
    keys["boot_id"], keys["capture_id"] = origin.boot_id, origin.capture_id
    for name in ("device", "inode", "generation", "version"):
        keys[name] = np.array(getattr(of, name), VERSION_KEY[name])
    return _as_bytes(keys)


def _as_bytes(records: npt.NDArray[np.void]) -> list[bytes]:
    found: list[bytes] = records.view(np.dtype((np.void, records.dtype.itemsize))).tolist()
    return found


def resolve(batch: wire.Batch, origin: Origin, ids: BatchIds) -> ResolvedBatch:
    """Put the ids in place of indexes and Unix time in place of deltas."""
    reader = _Reader(batch, origin, ids)
    return ResolvedBatch(
        host_id=origin.host_id,
        boot_id=origin.boot_id,
        epoch=batch.epoch,
        number=batch.number,
        processes=tuple(reader.processes()),
        ends=tuple(reader.ends()),
        accesses=reader.accesses(),
        names=tuple(reader.names()),
        digests=reader.digests(),
        code_states=tuple(reader.code_states()),
        streams=tuple(reader.streams()),
        losses=tuple(reader.losses()),
        recipe=recipe_rows(batch, origin, ids.processes.tolist(), ids.versions.tolist()),
    )


def merge(batches: Sequence[ResolvedBatch]) -> ResolvedBatch:
    """Join batches of one boot, oldest first, into one that bears the last number."""
    if len(batches) == 1:
        return batches[0]
    rows = {
        name: tuple(chain.from_iterable(getattr(batch, name) for batch in batches))
        for name in (*ROW_TABLES, "processes")
    }
    accesses = _stacked([batch.accesses for batch in batches])
    digests = _stacked([batch.digests for batch in batches])
    last = batches[-1]
    return ResolvedBatch(
        host_id=last.host_id,
        boot_id=last.boot_id,
        epoch=last.epoch,
        number=last.number,
        accesses=accesses,
        digests=digests,
        recipe=merged([batch.recipe for batch in batches]),
        **rows,
    )


def _stacked(parts: Sequence[Stacked]) -> Stacked:
    """Join columns of one kind."""
    kind = type(parts[0])
    return kind(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(kind))
    )


# Attribute of ResolvedBatch -> table, for rows that are only ever added.
ROW_TABLES = {
    "ends": "process_end",
    "names": "name_change",
    "code_states": "code_state",
    "streams": "stream_touch",
    "losses": "loss",
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
    return DigestColumns(*(getattr(digests, each.name)[kept] for each in fields(DigestColumns)))


class _Reader:
    """One batch with what its indexes mean."""

    def __init__(self, batch: wire.Batch, origin: Origin, ids: BatchIds) -> None:
        self._batch = batch
        self._boot_id = origin.boot_id
        self._ids = ids
        self._process = ids.processes.tolist()
        self._text: list[str | None] = [None, *batch.strings]
        self._zero_ns = batch.base_ns + batch.wall_offset_ns

    def processes(self) -> list[ProcessRow]:
        starts, keys = self._batch.process_starts, self._batch.process_keys
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
                [at or None for at in self._ids.versions[_ints(starts.exe_file)].tolist()],
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

    def accesses(self) -> AccessColumns:
        accesses = self._batch.accesses
        return AccessColumns(
            process_id=self._ids.processes[_ints(accesses.process)],
            version_id=self._ids.versions[_ints(accesses.file)],
            path_id=self._ids.paths[_ints(accesses.path_text)],
            op=_ints(accesses.op),
            ops=_ints(accesses.ops),
            bytes=_ints(accesses.bytes),
            first_unix_ns=_ints(accesses.first_ns) + self._zero_ns,
            last_unix_ns=_ints(accesses.last_ns) + self._zero_ns,
            flags=_ints(accesses.flags),
            mount_namespace=_ints(accesses.mount_namespace),
        )

    def names(self) -> list[NameRow]:
        names = self._batch.name_changes
        if not names.process:
            return []
        path, version = self._ids.paths.tolist(), self._ids.versions.tolist()
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

    def digests(self) -> DigestColumns:
        digests = self._batch.digests
        reason = np.empty(len(digests.file), np.object_)
        reasons = _ints(digests.reason_text)
        for row in np.flatnonzero(reasons).tolist():
            reason[row] = self._text[reasons[row]]
        return DigestColumns(
            version_id=self._ids.versions[_ints(digests.file)],
            state=_ints(digests.state),
            artifact_id=self._ids.artifacts,
            size_bytes=_ints(digests.size_bytes),
            reason=reason,
            at_unix_ns=_ints(digests.at_ns) + self._zero_ns,
            path_id=self._ids.paths[_ints(digests.path_text)],
        )

    def code_states(self) -> list[CodeRow]:
        states = self._batch.code_states
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

    def losses(self) -> list[LossRow]:
        losses = self._batch.losses
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
            )
            for row, record_class in enumerate(losses.class_text)
        ]


def _ints(column: Any) -> Ints:
    return np.array(column, np.int64)


def _at(column: Sequence[int], positions: Iterable[int]) -> list[int]:
    """Return the elements of a dictionary's column at positions that count from 1."""
    return [column[at - 1] for at in positions]


def _split(counts: Sequence[int], values: list[str]) -> list[tuple[str, ...]]:
    ends = list(accumulate(counts, initial=0))
    return [tuple(values[begin:end]) for begin, end in pairwise(ends)]
