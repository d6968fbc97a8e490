"""What is worked out beside ingest: trees and recipe keys of runs that ended, repeats that run.

A task of the collector that looks every few seconds. It reads with cursors of its own and writes
short transactions, so that no batch waits for it; what it does not get to it does the next time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from whence_collector import repeats, run_trees
from whence_collector.errors import StorageUnavailable
from whence_collector.graph import Graph
from whence_collector.recipe_keys import Keys, keys_of
from whence_collector.run_material import Worked, work_of
from whence_collector.tree_register import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whence_collector.run_trees import Found
    from whence_collector.store import Store, Writer

LOG = logging.getLogger("whence.aftermath")

PAUSE_S = 2.0
RUNS_AT_ONCE = 100
# Bytes of an input may be hashed long after its run; then it is taken as it is.
PATIENCE_NS = 600 * 1_000_000_000
LOOK_BACK_NS = 2 * 3_600 * 1_000_000_000
REGISTERED_AT_ONCE = 20_000  # members, in the transaction of their run
PREFIX = 64  # inputs of a run that a running repeat is compared with
ENDED = """
SELECT r.run_id FROM run r ANTI JOIN run_recipe p ON p.run_id = r.run_id
WHERE r.ended_ns IS NOT NULL AND r.ended_ns >= ? AND r.kind NOT IN ('canary', 'question', 'session')
ORDER BY r.ended_ns LIMIT ? OFFSET ?
"""


class Aftermath:
    """Looks after runs; step() does one look."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock
        self._graph = Graph()
        self._since_ns = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                worked = await asyncio.to_thread(self.step)
            except StorageUnavailable as error:
                LOG.warning("trees and repeats wait: %s", error)
                worked = 0
            if worked < RUNS_AT_ONCE:
                await asyncio.sleep(PAUSE_S)

    def step(self) -> int:
        """Settle runs that ended, then look at those that run; how many were settled."""
        settled, offset = 0, 0
        while True:
            with self._store.cursor() as reader:
                self._graph.follow(reader)
                waiting = [
                    run_id
                    for (run_id,) in reader.rows(ENDED, (self._since_ns, RUNS_AT_ONCE, offset))
                ]
                work = work_of(reader, self._graph, waiting) if waiting else {}
            ready = self._ready(work)
            self._settle_in_order(ready)
            settled += len(ready)
            offset += len(waiting) - len(ready)
            if len(waiting) < RUNS_AT_ONCE:
                break
        self._since_ns = self._clock() - LOOK_BACK_NS
        self._look_at_running()
        return settled

    def _ready(self, work: dict[str, Worked]) -> list[Worked]:
        now_ns = self._clock()
        return sorted(
            (
                each
                for each in work.values()
                if each.is_settled or now_ns - (each.ended_ns or now_ns) > PATIENCE_NS
            ),
            key=lambda each: each.started_ns,
        )

    def _settle_in_order(self, ready: Sequence[Worked]) -> None:
        """Settle runs; what one of them wrote as a tree is known when the next is looked at."""
        waiting: dict[str, list[Found]] = {}
        for number, each in enumerate(ready):
            with self._store.cursor() as reader:
                found = run_trees.find(reader, each)
            waiting[each.run_id] = [self._known_if_large(tree) for tree in found]
            if found or number + 1 == len(ready):
                self._settle(ready[number + 1 - len(waiting) : number + 1], waiting)
                waiting = {}

    def _known_if_large(self, tree: Found) -> Found:
        """Make a large tree known beforehand, in transactions that no batch waits for."""
        if tree.known or len(tree.members) <= REGISTERED_AT_ONCE:
            return tree
        coming = Registration(self._store)
        try:
            coming.add(tree.members)
            known = coming.finish(tree.kind, self._clock())
        except BaseException:
            coming.drop()
            raise
        return replace(tree, known=known.tree_id)

    def _settle(self, ready: Sequence[Worked], trees: dict[str, list[Found]]) -> None:
        keys = {each.run_id: keys_of(each.material()) for each in ready}
        now_ns = self._clock()

        def work(writer: Writer) -> None:
            _store_keys(writer, ready, keys, now_ns)
            _store_prefixes(writer, ready)
            for each in ready:
                run_trees.store(writer, each, trees[each.run_id], now_ns)
                repeats.note_finished(writer, each, keys[each.run_id], now_ns)

        self._store.write(work).result()

    def _look_at_running(self) -> None:
        with self._store.cursor() as reader:
            self._graph.follow(reader)
            noticed = repeats.among_running(reader, self._graph, self._clock())
        if noticed:
            now_ns = self._clock()
            self._store.write(lambda writer: repeats.note(writer, noticed, now_ns)).result()


def _store_keys(
    writer: Writer, ready: Sequence[Worked], keys: dict[str, Keys], now_ns: int
) -> None:
    found = [keys[each.run_id] for each in ready]
    # What made nothing from nothing is no work that could be repeated.
    kept = [bool(each.outputs and each.shown_inputs()) for each in ready]
    columns = {
        name: [
            getattr(each, name) if keep else None for each, keep in zip(found, kept, strict=True)
        ]
        for name in ("opening", "exact", "same_result", "intent")
    }
    writer.append(
        "run_recipe",
        {"run_id": [each.run_id for each in ready], "settled_ns": [now_ns] * len(ready)} | columns,
    )


def _store_prefixes(writer: Writer, ready: Sequence[Worked]) -> None:
    rows = [
        (each.run_id, position, file.content.artifact_id)
        for each in ready
        for position, file in enumerate(each.shown_inputs()[:PREFIX])
        if file.content is not None
    ]
    writer.append(
        "run_prefix",
        {
            "run_id": [run_id for run_id, _, _ in rows],
            "position": [position for _, position, _ in rows],
            "artifact_id": [artifact_id for _, _, artifact_id in rows],
        },
    )
