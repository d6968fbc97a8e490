"""The answer to Duplicates, and what filing a request asks: has this been done, does it leak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import tree_store
from whence_collector.answers_runs import resolve_run
from whence_collector.answers_tags import STANDING, artifact_ids
from whence_collector.lookups import where_in
from whence_collector.run_material import families_of
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whence_collector.store import Reader, Row

LIMIT_DEFAULT, LIMIT_CAP = 50, 10_000
MADE_LISTED = 10
REPEATS = """
SELECT p.run_id, p.earlier_run_id, p.grade, p.inputs_matched, p.noticed_ns
FROM repeat p JOIN run r ON r.run_id = p.run_id
WHERE (?1 IS NULL OR p.run_id = ?1 OR p.earlier_run_id = ?1)
    AND (NOT ?2 OR r.status = 'running')
ORDER BY p.noticed_ns DESC LIMIT ?3
"""
COSTS = "SELECT run_id, micro_usd, unpriced_ns FROM run_spend"
MADE = """
SELECT run_id, path, artifact FROM run_outputs
WHERE run_id IN (SELECT unnest(?::VARCHAR[])) AND artifact IS NOT NULL AND NOT deleted
    AND class IN ('model', 'data')
ORDER BY class = 'model' DESC, size DESC
"""
RAN_BEFORE = """
SELECT DISTINCT r.run_id, r.started_ns
FROM run r JOIN run_prefix p ON p.run_id = r.run_id
WHERE r.status = 'succeeded' AND p.artifact_id IN (SELECT unnest(?1::INTEGER[]))
    AND (?2 IS NULL OR r.git_commit = ?2)
    AND (?3 IS NULL OR r.command = ?3)
GROUP BY r.run_id, r.started_ns HAVING count(DISTINCT p.artifact_id) = ?4
ORDER BY r.started_ns DESC LIMIT ?5
"""
TEST_SETS = f"""
SELECT DISTINCT subject_kind, subject FROM ({STANDING})
WHERE key = 'test-set' AND subject_kind IN ('artifact', 'tree')
"""  # noqa: S608 -- every part is written here


@dataclass(frozen=True, slots=True)
class RanBefore:
    """An earlier run on the same data: when it began (Unix ns), its cost in dollars if known."""

    run_id: str
    command: str
    started_ns: int
    cost_usd: float | None
    made: tuple[tuple[str, str], ...]  # path, digest


@dataclass(frozen=True, slots=True)
class Overlap:
    """Data that has something in common with what is labelled test-set."""

    subject: str  # digest of a content or tree that has the label
    contents: int  # in common


def duplicates(reader: Reader, request: wire.DuplicatesRequest) -> wire.DuplicatesReply:
    """Answer Duplicates; raises InvalidRequest and NotFound for a run that is none."""
    run_id = resolve_run(reader, request.run_id) if request.run_id else None
    limit = min(request.limit or LIMIT_DEFAULT, LIMIT_CAP)
    found = reader.rows(REPEATS, (run_id, request.running, limit + 1))
    return wire.DuplicatesReply(
        duplicates=_messages(reader, found[:limit]), truncated=len(found) > limit
    )


def _messages(reader: Reader, found: Sequence[Row]) -> list[wire.Duplicate]:
    earlier_ids = {row[1] for row in found}
    runs = rows.run_summaries(reader, {row[0] for row in found} | earlier_ids)
    costs = costs_of(reader, earlier_ids)
    made = made_by(reader, earlier_ids)
    return [
        wire.Duplicate(
            run=runs[run_id],
            earlier=runs[earlier_id],
            grade=grade,
            inputs_matched=matched,
            noticed_unix_ns=noticed_ns,
            earlier_cost_usd=costs.get(earlier_id),
            made=[word for pair in made.get(earlier_id, ()) for word in pair],
        )
        for run_id, earlier_id, grade, matched, noticed_ns in found
        if run_id in runs and earlier_id in runs
    ]


def costs_of(reader: Reader, run_ids: Iterable[str]) -> dict[str, float]:
    """Return what runs cost in dollars with their steps, where all of it has a price."""
    families = families_of(reader, list(dict.fromkeys(run_ids)))
    everyone = {step for family in families.values() for step in family}
    spent = {row[0]: row[1:] for row in where_in(reader, COSTS, "run_id", everyone)}
    costs = {}
    for run_id, family in families.items():
        parts = [spent[step] for step in family if step in spent]
        if parts and all(micro_usd is not None and not free_ns for micro_usd, free_ns in parts):
            costs[run_id] = sum(micro_usd for micro_usd, _ in parts) / 1e6
    return costs


def made_by(reader: Reader, run_ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Return (path, digest) of what runs and their steps made, models first, at most 10 each."""
    ids = list(run_ids)
    steps: dict[str, str] = dict(
        where_in(reader, "SELECT run_id, parent_run_id FROM run", "parent_run_id", ids)
    )
    made: dict[str, list[tuple[str, str]]] = {}
    for run_id, path, artifact in reader.rows(MADE, ([*ids, *steps],)) if ids else ():
        listed = made.setdefault(run_id if run_id in ids else steps[run_id], [])
        if len(listed) < MADE_LISTED:
            listed.append((path, artifact))
    return made


def ran_before(
    reader: Reader,
    data: Iterable[str],
    commit: str | None = None,
    command: str | None = None,
    limit: int = 5,
) -> list[RanBefore]:
    """Return runs that read all of the given contents ("blake3:…"), newest first.

    For filing a request: commit and command narrow it where they are known. Contents that were
    never seen, and no contents at all, give no runs.
    """
    wanted = set(data)
    ids = artifact_ids(reader, wanted)
    if not wanted or len(ids) < len(wanted):
        return []
    found = reader.rows(
        RAN_BEFORE, (list(ids.values()), commit, command, len(set(ids.values())), limit)
    )
    run_ids = [run_id for run_id, _ in found]
    runs = rows.run_summaries(reader, run_ids)
    costs, made = costs_of(reader, run_ids), made_by(reader, run_ids)
    return [
        RanBefore(
            run_id,
            runs[run_id].command,
            started_ns,
            costs.get(run_id),
            tuple(made.get(run_id, ())),
        )
        for run_id, started_ns in found
        if run_id in runs
    ]


def overlap_with_test_sets(reader: Reader, subjects: Iterable[str]) -> list[Overlap]:
    """Return what labelled test-set the given contents and trees ("blake3:…", "tree:…") hold."""
    sought = _contents(reader, subjects)
    overlaps = []
    for _, subject in reader.rows(TEST_SETS):
        common = len(sought & _contents(reader, [subject]))
        if common:
            overlaps.append(Overlap(subject, common))
    return sorted(overlaps, key=lambda each: -each.contents)


def _contents(reader: Reader, subjects: Iterable[str]) -> set[int]:
    digests, found = [], set()
    for subject in subjects:
        if subject.startswith("tree:"):
            for tree in tree_store.by_digest(reader, subject.removeprefix("tree:"), 1):
                found.update(tree_store.contents_of(reader, tree.tree_id))
        elif len(subject.removeprefix("blake3:")) == 64:
            digests.append(subject)
    return found | set(artifact_ids(reader, digests).values())
