"""Runs of recorded process trees against the truth that their scenarios told: pairwise F1.

A pair of processes is right when both are of one run in truth and in the answer, or in neither.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from whence_collector.resolved import EndRow, ProcessRow, StreamRow
from whence_collector.run_state import Environment
from whence_collector.runs import RunBook

TREES = Path(__file__).resolve().parent.parent / "recorded" / "trees"
NAMES = sorted(path.stem for path in TREES.glob("*.json"))
FLOOR = 0.98
KNOWN = {field.name for field in fields(ProcessRow)}
CALLED = {
    "at_ns": "at_unix_ns",
    "arguments": "argv",
    "user": "user_name",
    "command_name": "command_name",
}


@dataclass(frozen=True, slots=True)
class Score:
    """Pairs that are of one run: in truth and answer, in the answer, in truth."""

    both: int
    found: int
    true: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.both / (self.found + self.true)


def pairs(clusters: Iterable[object]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(clusters).values())


def scored(truth: dict[str, str], found: dict[str, str]) -> Score:
    """Compare clusterings of the same processes."""
    assert truth.keys() == found.keys()
    both = pairs((truth[each], found[each]) for each in truth)
    return Score(both, pairs(found.values()), pairs(truth.values()))


def process_rows(starts: list[dict[str, Any]], ids: dict[tuple[int, ...], int]) -> list[ProcessRow]:
    rows = []
    for start in starts:
        row = {CALLED.get(name, name): value for name, value in start.items()}
        key, parent = tuple(row.pop("process")), row.pop("parent")
        row |= {"argv": tuple(row["argv"]), "boot_id": 1, "exe_version_id": None}
        row |= {"tgid": key[0], "start_ns": key[1], "image": key[2], "process_id": ids[key]}
        row["parent_process_id"] = ids.get(tuple(parent)) if parent else None
        rows.append(ProcessRow(**{name: value for name, value in row.items() if name in KNOWN}))
    return rows


def runs_of(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return truth and answer: the run of each process, by tgid and start."""
    told = json.loads((TREES / f"{name}.json").read_text())
    keys = dict.fromkeys(tuple(start["process"]) for start in told["starts"])
    ids = {key: number for number, key in enumerate(keys, 1)}
    book = RunBook(lambda _: "boot", lambda _: 1)
    book.add_environments(
        {ids[tuple(key)]: Environment(1, dict(pairs)) for *key, pairs in told["environments"]}
    )
    book.add(
        process_rows(told["starts"], ids),
        [EndRow(ids[tuple(end[:3])], *end[3:]) for end in told["ends"] if tuple(end[:3]) in ids],
        [
            StreamRow(ids[a, b, c], 1, device, inode, write, at_ns, None)
            for a, b, c, device, inode, write, at_ns in told["streams"]
            if (a, b, c) in ids
        ],
    )
    book.drain()
    newest = {f"{key[0]}:{key[1]}": ids[key] for key in sorted(ids)}
    return told["truth"], {each: str(book.run_of(newest[each])) for each in told["truth"]}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_tree_becomes_its_runs(name: str) -> None:
    truth, found = runs_of(name)

    assert scored(truth, found).f1 >= FLOOR


def test_all_trees_together() -> None:
    scores = [scored(*runs_of(name)) for name in NAMES]
    total = Score(
        *(sum(getattr(each, part) for each in scores) for part in ("both", "found", "true"))
    )

    assert len(NAMES) >= 10
    assert total.f1 >= FLOOR


def test_a_wrong_answer_scores_less() -> None:
    """The score can fail: everything in one run, and everything apart."""
    truth, _ = runs_of("script")
    lumped = scored(truth, dict.fromkeys(truth, "one"))
    apart = scored(truth, {each: each for each in truth})

    assert max(lumped.f1, apart.f1) < 0.5
