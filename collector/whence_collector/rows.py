"""Wire columns to rows in dense ids, and those to the columns of the raw tables.

Pure: ids come in as arrays that the dictionaries of the batch index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.hosts import Origin
from whence_collector.resolved import (
    AccessColumns,
    CodeRow,
    DigestRow,
    EndRow,
    LossRow,
    NameRow,
    ProcessRow,
    ResolvedBatch,
    StreamRow,
)
from whence_proto.v1 import ingest_pb2 as wire

Ints = npt.NDArray[np.int64]

UNSIGNED = {"inode", "version"}  # columns whose values do not fit 63 bits


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
    texts = list(batch.strings)
    return [texts[at - 1] for at in positions.tolist()]


def process_keys(batch: wire.Batch, origin: Origin) -> list[tuple[int, int, int, int]]:
    """Return the identity of each process that the batch names."""
    keys = batch.process_keys
    return [
        (origin.boot_id, tgid, start_ns, image)
        for tgid, start_ns, image in zip(keys.tgid, keys.start_ns, keys.image, strict=True)
    ]


def version_keys(batch: wire.Batch, origin: Origin) -> list[tuple[int, int, int, int, int, int]]:
    """Return the identity of each file version that the batch names.

    The capture belongs to it: a daemon that starts again counts versions from 0 again.
    """
    of = batch.file_versions
    return [
        (origin.boot_id, origin.capture_id, *key)
        for key in zip(of.device, of.inode, of.generation, of.version, strict=True)
    ]


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
        digests=tuple(reader.digests()),
        code_states=tuple(reader.code_states()),
        streams=tuple(reader.streams()),
        losses=tuple(reader.losses()),
    )


def merge(batches: Sequence[ResolvedBatch]) -> ResolvedBatch:
    """Join batches of one boot, oldest first, into one that bears the last number."""
    if len(batches) == 1:
        return batches[0]
    rows = {
        name: tuple(chain.from_iterable(getattr(batch, name) for batch in batches))
        for name in (*ROW_TABLES, "processes", "digests")
    }
    columns = (field.name for field in fields(AccessColumns))
    accesses = AccessColumns(
        **{
            name: np.concatenate([getattr(batch.accesses, name) for batch in batches])
            for name in columns
        }
    )
    last = batches[-1]
    return ResolvedBatch(
        host_id=last.host_id,
        boot_id=last.boot_id,
        epoch=last.epoch,
        number=last.number,
        accesses=accesses,
        **rows,
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
    return {
        field.name: _column(field.name, [getattr(row, field.name) for row in rows])
        for field in fields(rows[0])
    }


def access_columns(accesses: AccessColumns) -> dict[str, Ints]:
    """Name the columns of table access."""
    return {field.name: getattr(accesses, field.name) for field in fields(AccessColumns)}


def newest_description(processes: Sequence[ProcessRow]) -> list[ProcessRow]:
    """Keep the last row of each process: a later description replaces an earlier one."""
    return list({row.process_id: row for row in processes}.values())


def surest(digests: Sequence[DigestRow], stored: Mapping[int, int]) -> list[DigestRow]:
    """Keep at most one digest a version: one surer than its stored state, the first of equals.

    stored: DigestState by version_id. States are numbered from the surest (verified) down.
    """
    best: dict[int, DigestRow] = {}
    for row in digests:
        standing = best[row.version_id].state if row.version_id in best else None
        standing = stored.get(row.version_id) if standing is None else standing
        if standing is None or row.state < standing:
            best[row.version_id] = row
    return list(best.values())


def _column(name: str, values: list[Any]) -> Any:
    return np.array(values, np.uint64) if name in UNSIGNED else values


class _Reader:
    """One batch with what its indexes mean."""

    def __init__(self, batch: wire.Batch, origin: Origin, ids: BatchIds) -> None:
        self._batch = batch
        self._boot_id = origin.boot_id
        self._process = ids.processes.tolist()
        self._version = ids.versions.tolist()
        self._path = ids.paths.tolist()
        self._artifact = ids.artifacts.tolist()
        self._ids = ids
        self._text: list[str | None] = [None, *batch.strings]
        self._zero_ns = batch.base_ns + batch.wall_offset_ns

    def processes(self) -> list[ProcessRow]:
        starts = self._batch.process_starts
        arguments = _split(
            starts.argument_count, [self._text[at] or "" for at in starts.argument_text]
        )
        keys = self._batch.process_keys
        text = self._text
        return [
            ProcessRow(
                process_id=self._process[at],
                boot_id=self._boot_id,
                tgid=keys.tgid[at - 1],
                start_ns=keys.start_ns[at - 1],
                image=keys.image[at - 1],
                parent_process_id=self._process[starts.parent[row]] or None,
                at_unix_ns=self._zero_ns + starts.at_ns[row],
                origin=starts.origin[row],
                exe=text[starts.exe_text[row]],
                exe_version_id=self._version[starts.exe_file[row]] or None,
                script=text[starts.script_text[row]],
                argv=arguments[row],
                arguments_truncated=starts.arguments_truncated[row],
                cwd=text[starts.cwd_text[row]],
                uid=starts.uid[row],
                user_name=text[starts.user_text[row]],
                login_uid=starts.login_uid[row],
                session=starts.session[row],
                process_group=starts.process_group[row],
                terminal=starts.terminal[row],
                cgroup=text[starts.cgroup_text[row]],
                mount_namespace=starts.mount_namespace[row],
                pid_namespace=starts.pid_namespace[row],
                command_name=text[starts.command_name_text[row]],
            )
            for row, at in enumerate(starts.process)
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
        return [
            NameRow(
                process_id=self._process[process],
                change=names.change[row],
                at_unix_ns=self._zero_ns + names.at_ns[row],
                path_id=self._path[names.path_text[row]],
                new_path_id=self._path[names.new_path_text[row]],
                version_id=self._version[names.file[row]] or None,
                directory=names.directory[row],
                mount_namespace=names.mount_namespace[row],
            )
            for row, process in enumerate(names.process)
        ]

    def digests(self) -> list[DigestRow]:
        digests = self._batch.digests
        columns = (
            digests.file,
            digests.state,
            self._artifact,
            digests.size_bytes,
            digests.reason_text,
            digests.at_ns,
            digests.path_text,
        )
        version, text, path, zero_ns = self._version, self._text, self._path, self._zero_ns
        return [
            DigestRow(
                version[file], state, artifact or None, size, text[why], zero_ns + at, path[name]
            )
            for file, state, artifact, size, why, at, name in zip(*columns, strict=True)
        ]

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


def _split(counts: Sequence[int], values: list[str]) -> list[tuple[str, ...]]:
    ends = list(accumulate(counts, initial=0))
    return [tuple(values[begin:end]) for begin, end in pairwise(ends)]
