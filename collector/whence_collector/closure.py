"""What lies above a content or run, and which runs up there read given contents. Reads only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.answers_content import artifacts_of, makers_of, versions_of
from whence_collector.answers_runs import family_of, resolve_run
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lineage import ALWAYS
from whence_collector.lookups import among, where_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from whence_collector.answers_content import Artifact
    from whence_collector.graph import Graph
    from whence_collector.reached import Reached
    from whence_collector.store import Reader

MAKERS = 200
RUN_DIGITS = 16
READS = """
SELECT m.run_id, a.version_id, arg_min(a.path_id, a.first_unix_ns), min(a.first_unix_ns)
FROM access a JOIN process_run m USING (process_id)
WHERE a.op IN (1, 3, 4) AND {among_versions} AND {among_runs}
GROUP BY m.run_id, a.version_id
"""
WAYS = """
SELECT child_run_id, parent_run_id, strength, version_id, coalesce(read_ns, 0), written_ns
FROM run_dependency
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a walk begins: what was asked for in full, and bounds (Unix ns) by run."""

    name: str
    bounds: dict[str, int]
    artifact: Artifact | None


@dataclass(frozen=True, slots=True)
class Hit:
    """That a run read a content: which version, under which name, when first (Unix ns)."""

    run_id: str
    artifact_id: int
    version_id: int
    path_id: int
    first_ns: int


@dataclass(frozen=True, slots=True)
class Way:
    """One step of a way down: the child took something from the parent."""

    child: str
    parent: str
    strength: str
    version_id: int | None


def start_of(reader: Reader, text: str) -> Start:
    """Return where a walk from a run id or digest begins, with all who made the content.

    Raises InvalidRequest, or NotFound when the text names nothing that is known.
    """
    if not text.startswith("blake3:") and len(text) <= RUN_DIGITS:
        try:
            run_id = resolve_run(reader, text)
        except (InvalidRequest, NotFound):
            if len(text) < 6:
                raise
        else:
            return Start(run_id, dict.fromkeys(family_of(reader, run_id), ALWAYS), None)
    found = artifacts_of(reader, text, 2)
    if not found:
        raise NotFound(f"no run or content {text} was ever seen; `whence log` lists runs")
    if len(found) > 1:
        raise InvalidRequest(f"{text} means several contents; write more digits")
    return start_of_artifact(reader, found[0])


def start_of_artifact(reader: Reader, artifact: Artifact) -> Start:
    """Return where a walk from a content begins: every run that made it, each with its bound."""
    versions = [version_id for version_id, _ in versions_of(reader, artifact.artifact_id)]
    bounds: dict[str, int] = {}
    for made in makers_of(reader, versions, MAKERS) if versions else ():
        bounds[made.run_id] = max(bounds.get(made.run_id, 0), made.bound_ns)
    return Start(artifact.digest, bounds, artifact)


def above(graph: Graph, start: Start) -> Mapping[str, Reached]:
    """Return the runs that the start came from, its own included."""
    return graph.upstream(start.bounds) if start.bounds else {}


def reads_of(
    reader: Reader, artifact_ids: Collection[int], reached: Mapping[str, Reached]
) -> list[Hit]:
    """Return where the reached runs read the contents in time, oldest first."""
    if not artifact_ids or not reached:
        return []
    content_of: dict[int, int] = dict(
        where_in(
            reader,
            "SELECT version_id, artifact_id FROM version_digest",
            "artifact_id",
            artifact_ids,
        )
    )
    if not content_of:
        return []
    versions, version_params = among("a.version_id", content_of)
    runs, run_params = among("m.run_id", list(reached))
    sql = READS.format(among_versions=versions, among_runs=runs)
    hits = [
        Hit(run_id, content_of[version_id], version_id, path_id, first_ns)
        for run_id, version_id, path_id, first_ns in reader.rows(
            sql, (*version_params, *run_params)
        )
        if first_ns <= reached[run_id].bound_ns
    ]
    return sorted(hits, key=lambda hit: (hit.first_ns, hit.run_id))


def way_down(
    reader: Reader, from_run: str, start: Start, reached: Mapping[str, Reached]
) -> list[Way]:
    """Return a shortest way from a reached run down to where the walk began, steps in order."""
    below: dict[str, Way] = {}
    queue = deque(run_id for run_id in start.bounds if run_id in reached)
    seen = set(queue)
    edges: dict[str, list[Way]] = {}
    for child, parent, strength, version_id, read_ns, _ in where_in(
        reader, WAYS, "child_run_id", list(reached)
    ):
        if read_ns <= reached[child].bound_ns and parent in reached:
            edges.setdefault(child, []).append(Way(child, parent, strength, version_id))
    while queue:
        child = queue.popleft()
        for way in edges.get(child, ()):
            if way.parent not in seen:
                seen.add(way.parent)
                below[way.parent] = way
                queue.append(way.parent)
    ways = []
    run_id = from_run
    while run_id in below:
        ways.append(below[run_id])
        run_id = below[run_id].child
    return ways
