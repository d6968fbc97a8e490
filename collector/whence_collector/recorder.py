"""One transaction of ingest: which batches are new, their ids, their rows, what follows from them.

Runs on the writer thread only. Nothing it remembers of a transaction is used again before
committed() was called; otherwise the next transaction reads afresh where the database stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from whence_collector import ledger, rows
from whence_collector.artifacts import Artifacts
from whence_collector.check import Checked
from whence_collector.gpu_rows import GpuRows, has_gpu_rows
from whence_collector.hosts import Hosts, Origin
from whence_collector.identity import PATHS, PROCESSES, VERSIONS, NumberIds, TextIds
from whence_collector.resolved import DigestColumns, LossRow, ProcessRow, ResolvedBatch
from whence_collector.seen import SeenFilter, fingerprint
from whence_collector.stack import Stack
from whence_collector.store import Writer
from whence_proto.v1 import ingest_pb2 as wire

GAP_CLASS = "batch"
GREETED_EPOCHS = 1000
MARKS = """
SELECT host_id, epoch, number FROM batch_ledger JOIN boot USING (boot_id)
JOIN wanted USING (host_id) ORDER BY committed_ns DESC
"""


class Deriving(Protocol):
    """What turns stored rows into runs and edges, inside the same transaction."""

    def take_paths(self, first_path_id: int, paths: Sequence[str], writer: Writer) -> None:
        """Take in the paths that were stored just now; their ids follow each other."""

    def apply(self, batches: Sequence[ResolvedBatch], writer: Writer) -> None:
        """Take in rows that were just appended, one batch for each boot and capture."""

    def begin(self, writer: Writer) -> None:
        """Begin a transaction; memory and tables agree."""

    def close(self, writer: Writer) -> None:
        """Leave behind what the next start is quicker with; memory and tables agree."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked batch and the host whose stream brought it."""

    checked: Checked
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


@dataclass(frozen=True, slots=True)
class _Placed:
    """A new batch, where it comes from, and what is missing before it."""

    checked: Checked
    origin: Origin
    gap: LossRow | None


class Recorder:
    """The writer's memory: ledger, hosts, ids and the deriver."""

    def __init__(
        self, make_deriver: Callable[[Writer], Deriving], clock: Callable[[], int]
    ) -> None:
        self._make_deriver = make_deriver
        self._clock = clock
        self._paths = TextIds(PATHS)
        self._processes = NumberIds(PROCESSES)
        self._versions = NumberIds(VERSIONS)
        self._artifacts = Artifacts()
        self._hosts = Hosts()
        self._ledger = ledger.Ledger({})
        self._digested = SeenFilter()
        self._gpus = GpuRows()
        self.saw_gpus = False  # since somebody last put it back
        self._deriver: Deriving | None = None
        self._trusted = False  # memory and database agree
        self._loaded = False

    def open(self, writer: Writer) -> None:
        """Read where the database stands, if memory may differ; begins every transaction."""
        if self._trusted and self._deriver:
            self._trusted = False
            self._deriver.begin(writer)
            return
        for space in (self._paths, self._processes, self._versions, self._artifacts):
            space.resume(writer)
        self._hosts.resume(writer)
        self._ledger = ledger.load(writer)
        if not self._loaded:
            stored = writer.arrays("SELECT version_id FROM version_digest")
            self._digested.add(fingerprint([stored["version_id"].astype(np.uint64)]))
            self._loaded = True
        self._deriver = self._make_deriver(writer)

    def close(self, writer: Writer) -> None:
        """Have the deriver leave behind what the next start is quicker with."""
        if self._trusted and self._deriver:
            self._deriver.close(writer)

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        for space in (self._paths, self._processes, self._versions, self._artifacts):
            space.committed()
        self._trusted = True

    def register(self, hellos: Sequence[wire.Hello], writer: Writer) -> list[Registration]:
        """Keep Hellos of daemons, in their order."""
        self.open(writer)
        host_ids = [self._hosts.register(hello, self._clock(), writer) for hello in hellos]
        marks: dict[int, list[tuple[str, int]]] = {host_id: [] for host_id in host_ids}
        for host_id, epoch, number in writer.rows_with({"host_id": list(marks)}, MARKS):
            marks[host_id].append((epoch, number))
        return [
            Registration(host_id, tuple(marks[host_id][:GREETED_EPOCHS])) for host_id in host_ids
        ]

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
        # the order within a capture stays
        placed.sort(key=lambda each: (each.origin.boot_id, each.origin.capture_id))
        stack = Stack([each.checked for each in placed], [each.origin for each in placed])
        ids = self._ids(stack, writer)
        batches = rows.resolve(stack, ids)
        self._keep_gpus(stack, ids, writer)
        gaps = [(each.origin.capture_id, each.gap) for each in placed if each.gap]
        batches = [_with_gaps(batch, gaps) for batch in batches]
        self._flush_ids(writer)
        self._keep(batches, recorded, writer)
        self._ledger.save(writer)
        return recorded

    def _admit(self, submission: Submission, recorded: Recorded, writer: Writer) -> _Placed | None:
        batch = submission.checked.message
        verdict = self._ledger.judge(batch.epoch, batch.number)
        if verdict.duplicate:
            recorded.duplicates += 1
            return None
        origin = self._hosts.place(batch, submission.sender_host_id, writer)
        gap = self._gap(batch, origin, verdict.missing) if verdict.missing else None
        mark = ledger.Mark(batch.number, origin.boot_id, self._clock())
        self._ledger.advance(batch.epoch, mark)
        recorded.batches += 1
        recorded.rows += submission.checked.rows
        return _Placed(submission.checked, origin, gap)

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

    def _ids(self, stack: Stack, writer: Writer) -> rows.StackIds:
        """Resolve the dictionaries of all batches together: few long look-ups, not many short."""
        positions = stack.path_positions()
        paths = np.zeros(stack.text.length, np.int64)
        paths[positions] = self._paths.resolve(stack.texts_at(positions), writer)
        processes = self._processes.resolve(stack.process_keys(), writer)
        versions = self._versions.resolve(stack.version_keys(), writer)
        return rows.StackIds(
            processes=stack.process.spread(processes),
            versions=stack.file.spread(versions),
            paths=paths,
            artifacts=self._artifacts.resolve(stack, writer),
        )

    def _keep_gpus(self, stack: Stack, ids: rows.StackIds, writer: Writer) -> None:
        for at, (each, origin) in enumerate(zip(stack.batches, stack.origins, strict=True)):
            if has_gpu_rows(each.message):
                processes = ids.processes[stack.process.of(at)]
                self._gpus.keep(each.message, origin, processes, writer)
                self.saw_gpus = True

    def _flush_ids(self, writer: Writer) -> None:
        assert self._deriver is not None  # noqa: S101 -- open() made it
        first_id, paths = self._paths.flush(writer)
        self._processes.flush(writer)
        self._versions.flush(writer)
        self._artifacts.flush(writer)
        if paths:
            self._deriver.take_paths(first_id, paths, writer)

    def _keep(self, batches: list[ResolvedBatch], recorded: Recorded, writer: Writer) -> None:
        """Append the rows of all boots together, then derive boot by boot."""
        stored = self._stored_states(
            np.concatenate([each.digests.version_id for each in batches]), writer
        )
        batches = [replace(each, digests=rows.surest(each.digests, stored)) for each in batches]
        self._keep_digests(rows.together([each.digests for each in batches]), stored, writer)
        self._describe(rows.all_of(batches, "processes"), writer)
        accesses = rows.together([each.accesses for each in batches])
        writer.append("access", rows.access_columns(accesses))
        for name, table in rows.ROW_TABLES.items():
            writer.append(table, rows.columns_of(rows.all_of(batches, name)))
        for loss in rows.all_of(batches, "losses"):
            if loss.lost:
                recorded.lost[loss.record_class] = (
                    recorded.lost.get(loss.record_class, 0) + loss.lost
                )
        assert self._deriver is not None  # noqa: S101 -- open() made it
        self._deriver.apply(batches, writer)

    def _describe(self, processes: Sequence[ProcessRow], writer: Writer) -> None:
        """Store descriptions of processes in place of earlier ones."""
        newest = rows.newest_description(processes)
        known = [row.process_id for row in newest if not self._processes.is_new(row.process_id)]
        if known:
            writer.rows_with(
                {"process_id": known},
                "DELETE FROM process WHERE process_id IN (SELECT process_id FROM wanted)",
            )
        writer.append("process", rows.columns_of(newest))

    def _stored_states(self, versions: rows.Ints, writer: Writer) -> dict[int, int]:
        """Return the state of each version whose content was told before."""
        prints = fingerprint([versions.view(np.uint64)])
        asked = versions[self._digested.maybe(prints)]
        self._digested.add(prints)
        if not len(asked):
            return {}
        found = writer.rows_with(
            {"version_id": np.unique(asked)},
            "SELECT version_id, state FROM version_digest JOIN wanted USING (version_id)",
        )
        return dict(found)

    def _keep_digests(self, digests: DigestColumns, stored: dict[int, int], writer: Writer) -> None:
        """Store digests, in place of what is stored and says less."""
        replaced = [each for each in digests.version_id.tolist() if stored and each in stored]
        if replaced:
            writer.rows_with(
                {"version_id": replaced},
                "DELETE FROM version_digest WHERE version_id IN (SELECT version_id FROM wanted)",
            )
        writer.append("version_digest", rows.digest_columns(digests))


def _with_gaps(batch: ResolvedBatch, gaps: Sequence[tuple[int, LossRow]]) -> ResolvedBatch:
    mine = [gap for capture_id, gap in gaps if capture_id == batch.capture_id]
    return replace(batch, losses=(*batch.losses, *mine)) if mine else batch
