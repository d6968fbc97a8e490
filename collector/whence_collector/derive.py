"""Keeps runs, their edges and their names in step with the rows of each batch.

Runs on the writer thread inside the batch's transaction; after one that failed, a new Deriver
must be made. The decisions are in runs.py, edges.py and names.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whence_collector import index_keeper, restore
from whence_collector.captures import Captures
from whence_collector.carriers import carries
from whence_collector.classes import CLASSES, classes_of, executed_class
from whence_collector.edges import STRENGTHS, EdgeIndex, Late, Links, Reads
from whence_collector.half_written import HalfWritten
from whence_collector.index_keeper import IndexKeeper
from whence_collector.launcher_table import STANDARD
from whence_collector.output_names import OutputNames
from whence_collector.recipe_rows import merged
from whence_collector.recipe_store import RecipeStore
from whence_collector.rows import all_of, columns_of, together
from whence_collector.run_rows import run_columns
from whence_collector.run_state import Environment
from whence_collector.runs import RunBook
from whence_collector.tag_reach import TagReach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from whence_collector.changes import Changes
    from whence_collector.id_columns import Ints
    from whence_collector.launcher_table import LauncherTable
    from whence_collector.pipes import StreamEdge
    from whence_collector.resolved import AccessColumns, DigestColumns, RecipeRows, ResolvedBatch
    from whence_collector.store import Writer

EdgeKey = tuple[str, str, int, str]  # child run, parent run, version_id, strength
RUNS_REMEMBERED = 1_000_000  # processes whose run is kept in memory; the table has all
EDGES_REMEMBERED = 1_000_000

_EXECUTED = {each: executed_class(each) for each in (*CLASSES, None)}

READERS = """
SELECT a.process_id, a.version_id, min(a.first_unix_ns)
FROM access a JOIN wanted USING (version_id)
WHERE a.op IN (1, 3, 4) AND a.first_unix_ns >= ?
GROUP BY a.process_id, a.version_id
"""
TOUCHED = """
SELECT DISTINCT a.version_id FROM access a JOIN wanted USING (process_id)
"""


class Deriver:
    """Derives; apply() is given each batch after its rows were appended."""

    def __init__(
        self,
        writer: Writer,
        launchers: LauncherTable = STANDARD,
        index_path: Path | None = None,
    ) -> None:
        """Take up what the tables hold; index_path is where an index of them is kept."""
        self._boots: dict[int, tuple[str, int]] = {}
        self._book = RunBook(
            lambda boot_id: self._boots[boot_id][0],
            lambda boot_id: self._boots[boot_id][1],
            launchers,
        )
        self._index = EdgeIndex()
        self._runs: dict[int, str] = {}
        self._edges: dict[EdgeKey, None] = {}
        self._runless: set[int] = set()
        self._halves = HalfWritten(writer)
        self._names = OutputNames(writer)
        self._recipe = RecipeStore(writer)
        self._reach = TagReach(writer)
        self._load_boots(writer)
        self._captures = Captures(writer)
        restore.restore_book(self._book, writer)
        self._keeper = IndexKeeper(index_path)
        kept = self._keeper.load(writer)
        restore.restore_index(self._index, kept, writer)
        if kept is None:  # what no file holds is read again by each start until one does
            self._keeper.count(index_keeper.EVERY_ACCESSES)
        self.take_paths(*restore.unclassified(writer), writer)

    def begin(self, writer: Writer) -> None:
        """Look after what is kept for the next start, before a transaction adds anything."""
        self._keeper.look(self._index, writer)

    def close(self, writer: Writer) -> None:
        """Keep what the next start needs; adds nothing to the tables."""
        self._keeper.close(self._index, writer)

    def apply(self, batches: Sequence[ResolvedBatch], writer: Writer) -> None:
        """Bring every derived table up to date with batches whose rows are stored already.

        Each table is written once for all of them: a statement costs as much for one host as
        for a hundred.
        """
        if any(batch.boot_id not in self._boots for batch in batches):
            self._load_boots(writer)
        self._take_recipe(merged([batch.recipe for batch in batches]), writer)
        for batch in batches:
            self._take_programs(batch, writer)
        self._captures.store(writer)
        changes = self._book.drain()
        self._store_runs(changes, writer)
        self._reach.follow(all_of(batches, "tags"), changes, self._book, writer)
        accesses = together([batch.accesses for batch in batches])
        self._keeper.count(len(accesses.op))
        reads, late, grown = self._index.add_accesses(accesses)
        self._store_links(reads, writer)
        self._derive_late(late, writer)
        highest_id = int(accesses.version_id.max(initial=0))
        halves = self._halves.follow(highest_id, self._index, writer)
        self._derive_late(self._index.read_of(halves), writer)
        digests = together([batch.digests for batch in batches])
        self._derive_late(self._take_digests(digests), writer)
        self._correct(grown, writer)
        self._store_streams(changes.streams, writer)
        self._note_runless(accesses, changes, writer)
        for batch in batches:
            self._mark_old_losses(batch, writer)
            restore.mark_old_blind_spots(batch.blind_spots, writer)
        self._names.settle(batches, changes.closed, writer)

    def _take_programs(self, batch: ResolvedBatch, writer: Writer) -> None:
        self._book.add(batch.processes, batch.ends, batch.streams)
        self._index.add_carriers([row.process_id for row in batch.processes if carries(row)])
        self._book.add_code(batch.code_states)
        self._book.add_losses(batch.losses)
        self._book.add_accounts(batch.accounts)
        self._follow_capture(batch, writer)
        self._book.blind_spots.add(batch.blind_spots)

    def _take_recipe(self, recipe: RecipeRows, writer: Writer) -> None:
        numbers = self._recipe.store(recipe, writer)
        self._book.add_environments(
            {
                row.process_id: Environment(numbers[row.process_id], dict(row.variables))
                for row in recipe.environments
            }
        )

    def _follow_capture(self, batch: ResolvedBatch, writer: Writer) -> None:
        """A capture that has told what ran at its beginning ends what ran before and is gone."""
        census = self._captures.follow(batch, writer)
        if census is None:
            return
        self._book.take_census(census)
        if census.gap is not None:
            restore.mark_forgotten(census.host_id, census.boot_id, census.gap, writer)

    def _load_boots(self, writer: Writer) -> None:
        boots = writer.rows("SELECT boot_id, boot_uuid, host_id FROM boot")
        self._boots = {boot_id: (uuid, host_id) for boot_id, uuid, host_id in boots}

    def take_paths(self, first_path_id: int, paths: Sequence[str], writer: Writer) -> None:
        """Give every new path its class; their ids follow each other."""
        if paths:
            classes = classes_of(paths)
            writer.append(
                "path_class",
                {
                    "path_id": np.arange(first_path_id, first_path_id + len(paths)),
                    "class": classes,
                    "executed_class": [_EXECUTED[each] for each in classes],
                },
            )

    # Runs ---------------------------------------------------------------------

    def _store_runs(self, changes: Changes, writer: Writer) -> None:
        for process_id, run_id in changes.assigned:
            self._runs[process_id] = run_id
        if changes.assigned:
            writer.append(
                "process_run",
                {
                    "process_id": np.array([each for each, _ in changes.assigned], np.int64),
                    "run_id": [run_id for _, run_id in changes.assigned],
                },
            )
        if changes.known_runs:
            writer.rows_with(
                {"run_id": list(changes.known_runs)},
                "DELETE FROM run WHERE run_id IN (SELECT run_id FROM wanted)",
            )
        if changes.runs:
            writer.append("run", run_columns(changes.runs))
        writer.append("process_end", columns_of(changes.unseen_ends))
        if changes.dropped:
            self._store_merges(dict(changes.dropped), writer)
        if changes.moved:
            self._store_moves(changes, writer)

    def _store_merges(self, dropped: Mapping[str, str], writer: Writer) -> None:
        aliases = {"run_id": list(dropped), "into_run_id": list(dropped.values())}
        writer.append("run_alias", aliases)
        for statement in (
            "DELETE FROM run WHERE run_id IN (SELECT run_id FROM wanted)",
            "UPDATE run_dependency SET child_run_id = into_run_id FROM wanted "
            "WHERE child_run_id = wanted.run_id",
            "UPDATE run_dependency SET parent_run_id = into_run_id FROM wanted "
            "WHERE parent_run_id = wanted.run_id",
            "UPDATE run_output_name SET run_id = into_run_id FROM wanted "
            "WHERE run_output_name.run_id = wanted.run_id",
            "UPDATE run SET parent_run_id = into_run_id FROM wanted "
            "WHERE parent_run_id = wanted.run_id",
        ):
            writer.rows_with(aliases, statement)
        writer.execute("DELETE FROM run_dependency WHERE child_run_id = parent_run_id")
        self._edges.clear()
        _revise(writer)

    def _store_moves(self, changes: Changes, writer: Writer) -> None:
        """Put programs into other runs, with the edges that they brought."""
        moved = {process_id: run_id for process_id, _, run_id in changes.moved}
        self._runs.update(moved)
        columns = {
            "process_id": np.array(list(moved), np.int64),
            "run_id": list(moved.values()),
        }
        writer.rows_with(
            columns,
            "DELETE FROM process_run WHERE process_id IN (SELECT process_id FROM wanted)",
        )
        writer.append("process_run", columns)
        gone = {run_id for run_id, _ in changes.dropped}
        true_moves = [each for each, before, _ in changes.moved if before not in gone]
        if true_moves:
            self._rederive(true_moves, {before for _, before, _ in changes.moved}, writer)

    def _rederive(self, process_ids: list[int], old_run_ids: set[str], writer: Writer) -> None:
        found = writer.rows_with({"process_id": np.array(process_ids, np.int64)}, TOUCHED)
        touched = self._index.with_halves(version_id for (version_id,) in found)
        versions = np.array(sorted(touched), np.int64)
        if not len(versions):
            return
        if old_run_ids:
            old = list(old_run_ids)
            writer.rows_with(
                {"version_id": versions},
                "DELETE FROM run_dependency WHERE version_id IN (SELECT version_id FROM wanted) "
                "AND (list_contains(?, child_run_id) OR list_contains(?, parent_run_id))",
                (old, old),
            )
            self._edges.clear()
            _revise(writer)
        self._derive_late(Late(frozenset(versions.tolist()), 0), writer)

    # Edges --------------------------------------------------------------------

    def _take_digests(self, digests: DigestColumns) -> Late:
        hashed = digests.artifact_id != 0
        versions = digests.version_id[hashed]
        self._index.add_digests(versions, digests.artifact_id[hashed], digests.size_bytes[hashed])
        return self._index.late_digests(versions)

    def _derive_late(self, late: Late, writer: Writer) -> None:
        if late.version_ids:
            wanted = {"version_id": np.array(sorted(late.version_ids), np.int64)}
            rows = writer.rows_with(wanted, READERS, (late.since_ns,))
            self._store_links(Reads(*np.array(rows, np.int64).reshape(-1, 3).T), writer)

    def _store_links(self, reads: Reads, writer: Writer) -> None:
        """Store the edges that reads make, each once, with the earliest of its reads."""
        links = self._index.links(reads)
        if not len(links):
            return
        child, parent, run_ids = self._runs_of(links, writer)
        order = np.lexsort((links.read_ns, links.strength, links.version_id, parent, child))
        order = order[(child != 0)[order] & (parent != 0)[order] & (child != parent)[order]]
        keys = np.stack((child, parent, links.version_id, links.strength), 1)[order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (keys[1:] != keys[:-1]).any(1)
        kept: dict[EdgeKey, int] = {}
        for (child_at, parent_at, version_id, strength), row in zip(
            keys[is_first].tolist(), order[is_first].tolist(), strict=True
        ):
            key = (run_ids[child_at], run_ids[parent_at], version_id, STRENGTHS[strength])
            if key not in self._edges:
                kept[key] = row
        self._append_edges(kept, links, writer)

    def _runs_of(self, links: Links, writer: Writer) -> tuple[Ints, Ints, list[str]]:
        """Return the runs of readers and writers as indexes into a list, 0 where not known."""
        process_ids, at = np.unique(
            np.concatenate((links.reader_id, links.writer_id)), return_inverse=True
        )
        self._learn_runs(process_ids.tolist(), writer)
        run_ids = [self._runs.get(each, "") for each in process_ids.tolist()]
        distinct = ["", *dict.fromkeys(each for each in run_ids if each)]
        number = {run_id: nth for nth, run_id in enumerate(distinct)}
        numbers = np.array([number[each] for each in run_ids], np.int64)[at]
        return numbers[: len(links)], numbers[len(links) :], distinct

    def _append_edges(self, edges: Mapping[EdgeKey, int], links: Links, writer: Writer) -> None:
        """Append edges, each with the row of links that tells its times."""
        if not edges:
            return
        if len(self._edges) > EDGES_REMEMBERED:
            self._edges.clear()
        self._edges.update(dict.fromkeys(edges))
        rows = np.fromiter(edges.values(), np.int64, len(edges))
        self._index.mark_linked(links.version_id[rows])
        writer.append(
            "run_dependency",
            {
                "child_run_id": [child for child, _, _, _ in edges],
                "parent_run_id": [parent for _, parent, _, _ in edges],
                "artifact_id": [each or None for each in links.artifact_id[rows].tolist()],
                "version_id": links.version_id[rows],
                "strength": [strength for _, _, _, strength in edges],
                "read_ns": links.read_ns[rows],
                "written_ns": links.written_ns[rows],
            },
        )

    def _correct(self, grown: list[int], writer: Writer) -> None:
        """Add edges again whose version was written on: the last write of an edge counts."""
        if not grown:
            return
        writer.rows_with(
            {
                "version_id": np.array(grown, np.int64),
                "written_ns": np.array(
                    [self._index.last_write_ns(each) for each in grown], np.int64
                ),
            },
            "INSERT INTO run_dependency "
            "SELECT child_run_id, parent_run_id, any_value(artifact_id), version_id, strength, "
            "min(read_ns), any_value(wanted.written_ns) "
            "FROM run_dependency d JOIN wanted USING (version_id) "
            "WHERE strength = 'same-version' "
            "GROUP BY child_run_id, parent_run_id, version_id, strength",
        )

    def _store_streams(self, streams: Iterable[StreamEdge], writer: Writer) -> None:
        new: dict[EdgeKey, StreamEdge] = {}
        for edge in streams:
            key = (edge.child.run_id, edge.parent.run_id, 0, "stream")
            if key not in self._edges:
                new.setdefault(key, edge)
        self._edges.update(dict.fromkeys(new))
        if new:
            writer.append(
                "run_dependency",
                {
                    "child_run_id": [key[0] for key in new],
                    "parent_run_id": [key[1] for key in new],
                    "strength": ["stream"] * len(new),
                    "read_ns": [edge.read_ns for edge in new.values()],
                },
            )

    def _learn_runs(self, process_ids: Iterable[int], writer: Writer) -> None:
        if len(self._runs) > RUNS_REMEMBERED:
            self._runs.clear()
        missing = [each for each in process_ids if each not in self._runs]
        if missing:
            rows = writer.rows_with(
                {"process_id": np.array(missing, np.int64)},
                "SELECT process_id, run_id FROM process_run JOIN wanted USING (process_id)",
            )
            self._runs.update(rows)

    def _note_runless(self, accesses: AccessColumns, changes: Changes, writer: Writer) -> None:
        """A program whose description comes after its touches gets its edges then."""
        late = [each for each, _ in changes.assigned if each in self._runless]
        if late:
            self._runless.difference_update(late)
            self._rederive(late, set(), writer)
        seen = set(np.unique(accesses.process_id).tolist())
        unknown = {each for each in seen if each not in self._runs}
        if unknown:
            self._learn_runs(unknown, writer)
            self._runless |= {each for each in unknown if each not in self._runs}

    def _mark_old_losses(self, batch: ResolvedBatch, writer: Writer) -> None:
        """Mark runs that ended before a loss of their time became known."""
        for loss in batch.losses:
            if loss.lost > 0:
                restore.mark_old_loss(batch.host_id, loss, writer)


def _revise(writer: Writer) -> None:
    writer.execute("UPDATE lineage_revision SET revision = revision + 1")
