"""One transaction of ingest: which batches are new, their ids, their rows, what follows from them.

Runs on the writer thread only. Nothing it remembers of a transaction is used again before
committed() was called; otherwise the next transaction reads afresh where the database stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Any, Protocol

import numpy as np

from whence_collector import ledger, rows
from whence_collector.check import row_count
from whence_collector.hosts import Hosts, Origin
from whence_collector.identity import ARTIFACTS, PATHS, PROCESSES, VERSIONS, Identities, Key
from whence_collector.resolved import DigestColumns, LossRow, ProcessRow, ResolvedBatch
from whence_collector.seen import SeenFilter, fingerprint
from whence_collector.store import Writer
from whence_proto.v1 import ingest_pb2 as wire

GAP_CLASS = "batch"
GREETED_EPOCHS = 1000


class Deriving(Protocol):
    """What turns stored rows into runs and edges, inside the same transaction."""

    def apply(self, batch: ResolvedBatch, writer: Writer) -> None:
        """Take in rows that were just appended."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked batch and the host whose stream brought it."""

    batch: wire.Batch
    sender_host_id: int


@dataclass(frozen=True, slots=True)
class Registration:
    """A daemon that said Hello: its host, and how far its epochs got."""

    host_id: int
    marks: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Recorded:
    """What one transaction stored."""

    rows: int = 0
    batches: int = 0
    duplicates: int = 0
    lost: dict[str, int] = field(default_factory=dict)  # by class of record


@dataclass(slots=True)
class _Fresh:
    """What a new artifact is stored with."""

    sha256: bytes | None
    size_bytes: int
    first_seen_ns: int


@dataclass(frozen=True, slots=True)
class _Placed:
    """A new batch, where it comes from, and what is missing before it."""

    batch: wire.Batch
    origin: Origin
    gap: LossRow | None


_UNKNOWN = np.zeros(1, np.int64)


class Recorder:
    """The writer's memory: ledger, hosts, ids and the deriver."""

    def __init__(
        self, make_deriver: Callable[[Writer], Deriving], clock: Callable[[], int]
    ) -> None:
        self._make_deriver = make_deriver
        self._clock = clock
        self._paths = Identities(PATHS)
        self._processes = Identities(PROCESSES)
        self._versions = Identities(VERSIONS)
        self._artifacts = Identities(ARTIFACTS)
        self._hosts = Hosts()
        self._ledger = ledger.Ledger({})
        self._digested = SeenFilter()
        self._deriver: Deriving | None = None
        self._trusted = False  # memory and database agree
        self._loaded = False
        self._fresh_artifacts: dict[bytes, _Fresh] = {}

    def open(self, writer: Writer) -> None:
        """Read where the database stands, if memory may differ; begins every transaction."""
        if self._trusted and self._deriver:
            self._trusted = False
            return
        for space in (self._paths, self._processes, self._versions, self._artifacts):
            space.resume(writer)
        self._hosts.resume(writer)
        self._ledger = ledger.load(writer)
        if not self._loaded:
            stored = writer.arrays("SELECT version_id FROM version_digest")
            self._digested.add(fingerprint([stored["version_id"].astype(np.uint64)]))
            self._loaded = True
        self._fresh_artifacts.clear()
        self._deriver = self._make_deriver(writer)

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        for space in (self._paths, self._processes, self._versions, self._artifacts):
            space.committed()
        self._fresh_artifacts.clear()
        self._trusted = True

    def register(self, hello: wire.Hello, writer: Writer) -> Registration:
        """Keep a daemon's Hello."""
        self.open(writer)
        host_id = self._hosts.register(hello, self._clock(), writer)
        marks = writer.rows(
            "SELECT epoch, number FROM batch_ledger JOIN boot USING (boot_id) "
            "WHERE host_id = ? ORDER BY committed_ns DESC LIMIT ?",
            (host_id, GREETED_EPOCHS),
        )
        return Registration(host_id, tuple((epoch, number) for epoch, number in marks))

    def record(self, submissions: Sequence[Submission], writer: Writer) -> Recorded:
        """Store every batch that is new, in order, and derive what follows."""
        self.open(writer)
        recorded = Recorded()
        placed = [
            admitted
            for submission in submissions
            if (admitted := self._admit(submission, recorded, writer))
        ]
        if not placed:
            return recorded
        by_boot: dict[int, list[ResolvedBatch]] = {}
        for each, ids in zip(placed, self._ids(placed, writer), strict=True):
            resolved = rows.resolve(each.batch, each.origin, ids)
            if each.gap:
                resolved = replace(resolved, losses=(*resolved.losses, each.gap))
            by_boot.setdefault(resolved.boot_id, []).append(resolved)
        self._flush_ids(writer)
        for batches in by_boot.values():
            self._keep(rows.merge(batches), recorded, writer)
        self._ledger.save(writer)
        return recorded

    def _admit(self, submission: Submission, recorded: Recorded, writer: Writer) -> _Placed | None:
        batch = submission.batch
        verdict = self._ledger.judge(batch.epoch, batch.number)
        if verdict.duplicate:
            recorded.duplicates += 1
            return None
        origin = self._hosts.place(batch, submission.sender_host_id, writer)
        gap = self._gap(batch, origin, verdict.missing) if verdict.missing else None
        mark = ledger.Mark(batch.number, origin.boot_id, self._clock())
        self._ledger.advance(batch.epoch, mark)
        recorded.batches += 1
        recorded.rows += row_count(batch)
        return _Placed(batch, origin, gap)

    def _gap(self, batch: wire.Batch, origin: Origin, missing: int) -> LossRow:
        before = self._ledger.mark(batch.epoch)
        until_ns = batch.base_ns + batch.wall_offset_ns
        first = batch.number - missing
        return LossRow(
            boot_id=origin.boot_id,
            record_class=GAP_CLASS,
            attempted=missing,
            received=0,
            lost=missing,
            reason=f"batches {first} to {batch.number - 1} of epoch {batch.epoch} never came",
            from_unix_ns=min(before.committed_ns if before else until_ns, until_ns),
            until_unix_ns=until_ns,
        )

    def _ids(self, placed: Sequence[_Placed], writer: Writer) -> list[rows.BatchIds]:
        """Resolve the dictionaries of all batches together: few long look-ups, not many short."""
        positions = [rows.path_positions(each.batch) for each in placed]
        texts = [
            rows.texts_at(each.batch, used) for each, used in zip(placed, positions, strict=True)
        ]
        paths = _resolve_parts(self._paths, texts, writer)
        processes = _resolve_parts(
            self._processes, [rows.process_keys(each.batch, each.origin) for each in placed], writer
        )
        versions = _resolve_parts(
            self._versions, [rows.version_keys(each.batch, each.origin) for each in placed], writer
        )
        artifacts = self._artifact_ids(placed, writer)
        return [
            rows.BatchIds(
                processes=np.concatenate((_UNKNOWN, processes[at])),
                versions=np.concatenate((_UNKNOWN, versions[at])),
                paths=_scattered(len(each.batch.strings) + 1, positions[at], paths[at]),
                artifacts=artifacts[at],
            )
            for at, each in enumerate(placed)
        ]

    def _artifact_ids(self, placed: Sequence[_Placed], writer: Writer) -> list[rows.Ints]:
        """Return, per batch, the artifact of each of its digests, 0 where there is none."""
        contents = [list(each.batch.digests.blake3) for each in placed]
        hashed = [[blake3 for blake3 in each if blake3] for each in contents]
        found = _resolve_parts(self._artifacts, hashed, writer)
        learned: dict[int, bytes] = {}
        scattered = []
        for each, all_blake3, ids in zip(placed, contents, found, strict=True):
            rows_of = np.flatnonzero(np.fromiter(map(len, all_blake3), np.int64, len(all_blake3)))
            self._note_artifacts(each.batch, rows_of.tolist(), ids.tolist(), learned)
            scattered.append(_scattered(len(all_blake3), rows_of, ids))
        _learn_sha256(learned, writer)
        return scattered

    def _note_artifacts(
        self, batch: wire.Batch, hashed: list[int], ids: list[int], learned: dict[int, bytes]
    ) -> None:
        """Keep what new artifacts are stored with, and SHA-256 that others did not have."""
        digests, first_new_id = batch.digests, self._artifacts.first_new_id
        zero_ns = batch.base_ns + batch.wall_offset_ns
        blake3, sha256 = list(digests.blake3), list(digests.sha256)
        size_bytes, at_ns = list(digests.size_bytes), list(digests.at_ns)
        for row, artifact_id in zip(hashed, ids, strict=True):
            known = self._fresh_artifacts.get(blake3[row])
            if artifact_id < first_new_id:
                if sha256[row]:
                    learned[artifact_id] = sha256[row]
            elif known is None:
                self._fresh_artifacts[blake3[row]] = _Fresh(
                    sha256[row] or None, size_bytes[row], zero_ns + at_ns[row]
                )
            else:
                known.sha256 = known.sha256 or sha256[row] or None

    def _flush_ids(self, writer: Writer) -> None:
        self._paths.flush(writer)
        self._processes.flush(writer)
        self._versions.flush(writer)
        self._artifacts.flush(writer, self._artifact_columns)

    def _artifact_columns(self, blake3: list[bytes]) -> dict[str, Any]:
        fresh = [self._fresh_artifacts[each] for each in blake3]
        return {
            "sha256": [each.sha256 for each in fresh],
            "size_bytes": [each.size_bytes for each in fresh],
            "first_seen_ns": [each.first_seen_ns for each in fresh],
        }

    def _keep(self, batch: ResolvedBatch, recorded: Recorded, writer: Writer) -> None:
        batch = replace(batch, digests=self._surest(batch.digests, writer))
        self._describe(rows.newest_description(batch.processes), writer)
        writer.append("access", rows.access_columns(batch.accesses))
        for name, table in rows.ROW_TABLES.items():
            writer.append(table, rows.columns_of(getattr(batch, name)))
        writer.append("version_digest", rows.digest_columns(batch.digests))
        for loss in batch.losses:
            if loss.lost:
                recorded.lost[loss.record_class] = (
                    recorded.lost.get(loss.record_class, 0) + loss.lost
                )
        assert self._deriver is not None  # noqa: S101 -- open() made it
        self._deriver.apply(batch, writer)

    def _describe(self, processes: Sequence[ProcessRow], writer: Writer) -> None:
        """Store descriptions of processes in place of earlier ones."""
        known = [row.process_id for row in processes if not self._processes.is_new(row.process_id)]
        if known:
            writer.rows_with(
                {"process_id": known},
                "DELETE FROM process WHERE process_id IN (SELECT process_id FROM wanted)",
            )
        writer.append("process", rows.columns_of(processes))

    def _surest(self, digests: DigestColumns, writer: Writer) -> DigestColumns:
        """Drop digests that say less than what is stored, and what is stored that says less."""
        versions = digests.version_id
        prints = fingerprint([versions.view(np.uint64)])
        asked = versions[self._digested.maybe(prints)]
        stored: dict[int, int] = {}
        if len(asked):
            found = writer.rows_with(
                {"version_id": np.unique(asked)},
                "SELECT version_id, state FROM version_digest JOIN wanted USING (version_id)",
            )
            stored = dict(found)
        kept = rows.surest(digests, stored)
        replaced = [each for each in kept.version_id.tolist() if each in stored] if stored else []
        if replaced:
            writer.rows_with(
                {"version_id": replaced},
                "DELETE FROM version_digest WHERE version_id IN (SELECT version_id FROM wanted)",
            )
        self._digested.add(prints)
        return kept


def _resolve_parts(
    identities: Identities[Key], parts: Sequence[Sequence[Key]], writer: Writer
) -> list[rows.Ints]:
    found = identities.resolve(list(chain.from_iterable(parts)), writer)
    return np.split(found, list(accumulate(len(part) for part in parts[:-1])))


def _scattered(length: int, positions: rows.Ints, values: rows.Ints) -> rows.Ints:
    """Return an array of zeros that holds the values at their positions."""
    scattered = np.zeros(length, np.int64)
    scattered[positions] = values
    return scattered


def _learn_sha256(learned: dict[int, bytes], writer: Writer) -> None:
    """Add SHA-256 to artifacts that were first seen as inputs."""
    if learned:
        writer.rows_with(
            {"artifact_id": list(learned), "sha256": list(learned.values())},
            "UPDATE artifact SET sha256 = wanted.sha256 FROM wanted "
            "WHERE artifact.artifact_id = wanted.artifact_id AND artifact.sha256 IS NULL",
        )
