"""The answer to Touched: yes with the way, no with the coverage, unknown with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import touches, tree_store
from whence_collector.answers_origin import undigested_inputs
from whence_collector.answers_tags import STANDING, artifact_ids
from whence_collector.classes import SHOWN
from whence_collector.closure import Hit, above, reads_of, start_of, way_down
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.incomplete import COMMAND_CHARS, undigested_sentence
from whence_collector.lookups import digests, paths, where_in
from whence_collector.tag_rules import check_key
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whence_collector.closure import Start, Way
    from whence_collector.graph import Graph
    from whence_collector.reached import Reached
    from whence_collector.store import Reader
    from whence_proto.v1 import query_pb2

TOUCHES_LISTED = 100
REASONS_LISTED = 20
DIGESTS_MOST = 1_000_000
ROUTE_COMMANDS = 20
# From the surest evidence down.
STRENGTHS = ("same-version", "same-file-torn", "stream", "same-content")
LABELLED = f"""
SELECT DISTINCT subject_kind, subject FROM ({STANDING})
WHERE key = ?1 AND (?2 IS NULL OR value = ?2) AND subject_kind IN ('artifact', 'tree')
"""  # noqa: S608 -- every part is written here


@dataclass(slots=True)
class Sought:
    """Contents that are looked for; those that were never seen cannot have been read."""

    count: int = 0
    artifact_ids: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    def add_digests(self, reader: Reader, wanted: list[str]) -> None:
        """Look for contents by digest."""
        self.count += len(wanted)
        self.artifact_ids.update(artifact_ids(reader, wanted).values())

    def add_tree(self, reader: Reader, text: str) -> None:
        """Look for the members of a tree; raises NotFound."""
        digits = text.removeprefix("tree:").lower()
        if len(digits) < 6 or set(digits) - set("0123456789abcdef"):
            raise InvalidRequest(f"{text!r} is no tree; write tree: and 6 digits or more")
        found = tree_store.by_digest(reader, digits, 2)
        if len(found) != 1:
            raise NotFound(f"no single tree has the digest {text}; `whence FOLDER` tells them")
        self.count += found[0].members
        self.artifact_ids.update(tree_store.contents_of(reader, found[0].tree_id))

    def add_label(self, reader: Reader, label: str) -> None:
        """Look for everything that has a tag; raises NotFound where nothing has."""
        key, equals, value = label.partition("=")
        found = reader.rows(LABELLED, (check_key(key), value if equals else None))
        if not found:
            raise NotFound(f"no content has the tag {label}; `whence tag FILE {key}` gives it")
        self.add_digests(reader, [subject for kind, subject in found if kind == "artifact"])
        for kind, subject in found:
            if kind == "tree":
                self.add_tree(reader, subject)


def touched(reader: Reader, graph: Graph, request: wire.TouchedRequest) -> wire.TouchedReply:
    """Answer Touched; raises InvalidRequest and NotFound."""
    sought = _sought(reader, request)
    start = start_of(reader, request.subject)
    reached = above(graph, start)
    reply = wire.TouchedReply(subject=start.name, contents=sought.count, runs=len(reached))
    hits = reads_of(reader, sought.artifact_ids, reached)
    runs = rows.run_summaries(reader, reached)
    if start.artifact is not None and start.artifact.artifact_id in sought.artifact_ids:
        reply.reasons.append("the asked content is itself one of those that were looked for")
    _tell_touches(reader, reply, hits, start, reached, runs)
    _tell_coverage(reader, graph, reply, start, reached, runs)
    reply.reasons.extend(sought.reasons)
    reply.verdict = "yes" if hits else "unknown" if reply.reasons else "no"
    return reply


def _sought(reader: Reader, request: wire.TouchedRequest) -> Sought:
    sought = Sought()
    if len(request.digests) > DIGESTS_MOST:
        raise InvalidRequest(f"{len(request.digests):,} digests; register the folder as a tree")
    for digest in request.digests:
        if len(digest.removeprefix("blake3:")) != 64:
            raise InvalidRequest(f"{digest!r} is no whole digest; write all 64 digits")
    if request.digests:
        sought.add_digests(reader, list(request.digests))
    if request.tree:
        sought.add_tree(reader, request.tree)
    if request.label:
        sought.add_label(reader, request.label)
    if not sought.count:
        raise InvalidRequest("nothing to look for; give a file, a folder, a digest or a label")
    return sought


def _tell_touches(
    reader: Reader,
    reply: wire.TouchedReply,
    hits: list[Hit],
    start: Start,
    reached: Mapping[str, Reached],
    runs: Mapping[str, query_pb2.RunSummary],
) -> None:
    shown = hits[:TOUCHES_LISTED]
    reply.truncated = len(hits) > len(shown)
    names = paths(reader, {hit.path_id for hit in shown})
    digest_of = digests(reader, {hit.artifact_id for hit in shown})
    ways: dict[str, list[Way]] = {}
    for hit in shown:
        if hit.run_id not in runs:
            continue
        if hit.run_id not in ways:
            ways[hit.run_id] = way_down(reader, hit.run_id, start, reached)
        way = ways[hit.run_id]
        touch = reply.touches.add(
            path=names.get(hit.path_id, "?"),
            digest=digest_of[hit.artifact_id],
            run=runs[hit.run_id],
            first_unix_ns=hit.first_ns,
            route=[runs[hit.run_id].command]
            + [runs[step.child].command for step in way[:ROUTE_COMMANDS] if step.child in runs],
        )
        if way:
            touch.strength = max((step.strength for step in way), key=_weakness)


def _weakness(strength: str) -> int:
    return STRENGTHS.index(strength) if strength in STRENGTHS else len(STRENGTHS)


def _tell_coverage(
    reader: Reader,
    graph: Graph,
    reply: wire.TouchedReply,
    start: Start,
    reached: Mapping[str, Reached],
    runs: Mapping[str, query_pb2.RunSummary],
) -> None:
    """Count what a "no" rests on, and say what it does not."""
    if not reached:
        reply.reasons.append(
            "no observed run made it, so nothing is known of what it was made from"
        )
        return
    seen = touches.load(reader, graph.classes, list(reached))
    bounds = {run_id: each.bound_ns for run_id, each in reached.items()}
    inputs = seen.inputs(bounds, SHOWN)
    versions = set(inputs.version_id.tolist())
    decided = where_in(
        reader, "SELECT version_id, state FROM version_digest", "version_id", versions
    )
    known = {version_id for version_id, state in decided if state in (1, 2)}
    waiting = len(versions) - len(decided)
    reply.inputs, reply.inputs_known = len(versions), len(known)
    reasons = [
        f"run {run.run_id} ({run.command[:COMMAND_CHARS]}): "
        f"{run.incomplete_reason or 'the reason is not known'}"
        for run in runs.values()
        if not run.complete
    ]
    if undigested := list(undigested_inputs(reader, inputs).values()):
        reasons.append(undigested_sentence(undigested))
    if waiting:
        reasons.append(f"{waiting} inputs are not hashed yet")
    if any(run.status == "running" for run in runs.values() if run.run_id not in start.bounds):
        reasons.append("a run that it depends on is still running")
    if seen.truncated:
        reasons.append("the ancestry has more accesses than one answer reads")
    reply.reasons.extend(reasons[:REASONS_LISTED])
    if len(reasons) > REASONS_LISTED:
        reply.reasons.append(f"and {len(reasons) - REASONS_LISTED} more reasons")
