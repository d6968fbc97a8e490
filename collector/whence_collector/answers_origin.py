"""How one output was made: its inputs, what they came from up the lineage, what is not known.

Reads only. Several outputs are worked out together, for their ancestors are often the same runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.answers_recipe import Remarks, packages, remarks
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.incomplete import add_completeness
from whence_collector.lookups import among, paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whence_collector.answers_content import Made
    from whence_collector.graph import Graph
    from whence_collector.reached import Reached
    from whence_collector.store import Reader
    from whence_collector.touches import Sides, Touches
    from whence_proto.v1 import query_pb2 as wire

INPUTS_LISTED = 1000
ROOTS_LISTED = 200
ANCESTRY_LISTED = 200
ROOT_CLASSES = ("data", "model", "config")
FOLDED = tuple(each for each in CLASSES if each not in SHOWN)
# Of the states of a digest, 3 is torn and 4 is unhashed.
UNDIGESTED = (
    "SELECT version_id, reason FROM version_digest WHERE state IN (3, 4) AND {among_versions}"
)
# Seen by a capture that is over, and neither read nor given up by it: its daemon was killed.
LEFT = """
SELECT version_id FROM file_version WHERE {among_versions}
AND NOT EXISTS (SELECT 1 FROM version_digest d WHERE d.version_id = file_version.version_id)
AND capture_id NOT IN (
    SELECT max(c.capture_id) FROM capture c JOIN boot b USING (boot_id) GROUP BY b.host_id)
"""
NEVER_READ = "the daemon ended before its bytes were read"


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of how an output was made, run summaries left out."""

    made: Made
    reached: Mapping[str, Reached]
    inputs: list[rows.File]
    roots: list[rows.File]
    producers: Mapping[tuple[str, int], str]
    undigested: list[tuple[str, str | None]]  # path and reason
    folded: int
    counts: tuple[int, int]
    with_data: set[str]  # runs that took in files from somewhere
    remarks: Remarks
    packages: list[wire.Package]
    truncated: bool


def origins(reader: Reader, graph: Graph, made: Sequence[Made]) -> list[Origin]:
    """Return how outputs were made."""
    reached = [graph.upstream({each.run_id: each.bound_ns}) for each in made]
    run_ids = list(dict.fromkeys(run_id for each in reached for run_id in each))
    touched = touches.load(reader, graph.classes, run_ids)
    producers = rows.producers(reader, run_ids)
    parts = [_parts(touched, *each, producers) for each in zip(made, reached, strict=True)]
    listed = iter(
        rows.read_files(
            reader, touched, touches.joined([side for part in parts for side in part.listed])
        )
    )
    about = remarks(
        reader,
        [
            *touches.joined([side for part in parts for side in part.listed]).version_id.tolist(),
            *(each.version_id for each in made),
        ],
    )
    undigested = undigested_inputs(reader, touches.joined([part.inputs for part in parts]))
    found = []
    for each, up, part in zip(made, reached, parts, strict=True):
        direct, roots = (list(islice(listed, len(side))) for side in part.listed)
        versions = set(part.inputs.version_id.tolist())
        found.append(
            Origin(
                made=each,
                reached=up,
                inputs=direct,
                roots=_once(roots),
                producers=producers,
                undigested=[why for version, why in undigested.items() if version in versions],
                folded=part.folded,
                counts=touched.counts(each.run_id),
                with_data={file.run_id for file in roots}
                | {child for child, _ in producers if child in up},
                remarks=about,
                packages=packages(reader, [each.run_id]),
                truncated=part.truncated,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Parts:
    """Inputs along the whole lineage; of them those to list: direct ones, and roots."""

    inputs: Sides
    listed: tuple[Sides, Sides]
    folded: int
    truncated: bool


def _parts(
    touched: Touches,
    made: Made,
    reached: Mapping[str, Reached],
    producers: Mapping[tuple[str, int], str],
) -> _Parts:
    bounds = {run_id: each.bound_ns for run_id, each in reached.items()}
    inputs = touched.inputs(bounds, SHOWN)
    direct = inputs.only(inputs.run == touched.index(made.run_id))
    produced = [version_id for child, version_id in producers if child in bounds]
    roots = touched.inputs(bounds, ROOT_CLASSES)
    roots = roots.only(~np.isin(roots.version_id, np.array(produced, np.int64)))
    return _Parts(
        inputs,
        (direct.only(slice(INPUTS_LISTED)), roots.only(slice(INPUTS_LISTED))),
        len(touched.inputs({made.run_id: made.bound_ns}, FOLDED)),
        touched.truncated or len(direct) > INPUTS_LISTED or len(roots) >= INPUTS_LISTED,
    )


def _once(roots: Iterable[rows.File]) -> list[rows.File]:
    """Keep each content once, as it was read first; data before models and settings."""
    once = {file.key: file for file in reversed(list(roots))}
    return sorted(once.values(), key=lambda file: (file.file_class != "data", file.first_ns))


def undigested_inputs(reader: Reader, inputs: Sides) -> dict[int, tuple[str, str | None]]:
    """Return path and reason of inputs that are torn or unhashed, by version_id, oldest first."""
    path_of = dict(
        zip(inputs.version_id[::-1].tolist(), inputs.path_id[::-1].tolist(), strict=True)
    )
    if not path_of:
        return {}
    condition, params = among("version_id", path_of)
    reasons: dict[int, str | None] = dict(
        reader.rows(UNDIGESTED.format(among_versions=condition), params)
    )
    left = reader.rows(LEFT.format(among_versions=condition), params)
    reasons |= {version_id: NEVER_READ for (version_id,) in left}
    texts = paths(reader, {path_of[version_id] for version_id in reasons})
    return {
        version_id: (texts[path_id], reasons[version_id])
        for version_id, path_id in reversed(path_of.items())
        if version_id in reasons
    }


def tell(origin: Origin, runs: Mapping[str, wire.RunSummary], production: wire.Production) -> None:
    """Put what is known into the production."""
    for file in origin.inputs:
        producer = origin.producers.get((file.run_id, file.version_id))
        edge = rows.file_edge(file, runs.get(producer or ""))
        production.inputs.append(origin.remarks.mark(file.version_id, edge))
    production.library_count = origin.folded
    production.run.input_count, production.run.output_count = origin.counts
    production.root_inputs.extend(
        origin.remarks.mark(file.version_id, rows.file_edge(file))
        for file in origin.roots[:ROOTS_LISTED]
    )
    production.packages.extend(origin.packages)
    production.superseded = origin.made.version_id in origin.remarks.changed
    nearest = _nearest_first(origin, runs)
    production.ancestry.extend(nearest[:ANCESTRY_LISTED])
    production.truncated = (
        origin.truncated or len(origin.roots) > ROOTS_LISTED or len(nearest) > ANCESTRY_LISTED
    )
    known = [runs[run_id] for run_id in origin.reached if run_id in runs]
    add_completeness(production, known, origin.undigested)


def _nearest_first(origin: Origin, runs: Mapping[str, wire.RunSummary]) -> list[wire.RunSummary]:
    """Order ancestors; one that only fed a pipe counts if it brought data into it."""
    kept = [
        run_id
        for run_id, each in origin.reached.items()
        if run_id != origin.made.run_id
        and run_id in runs
        and (each.by_file or run_id in origin.with_data)
    ]
    kept.sort(key=lambda run_id: (origin.reached[run_id].hops, -runs[run_id].started_unix_ns))
    return [runs[run_id] for run_id in kept]
