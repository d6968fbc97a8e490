"""The answer to Find: a content, who made it from what, who read it, what a path held.

Reads only. The production that answers the question best comes first and alone in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.answers_content import (
    Artifact,
    Made,
    artifacts_of,
    consumers_of,
    makers_of,
    reads_by,
    versions_of,
)
from whence_collector.answers_names import names_now, versions_named
from whence_collector.answers_origin import Origin, origins, tell
from whence_collector.answers_path import held_at, path_version
from whence_collector.answers_trees import tree_edges
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.incomplete import add_completeness
from whence_collector.lookups import host_names, paths
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Collection

    from whence_collector.graph import Graph
    from whence_collector.store import Reader

CANDIDATES = 20
CONSUMERS_LISTED = 50
PRODUCTIONS = 20


@dataclass(frozen=True, slots=True)
class _Story:
    """What is known of a content; runs are summaries of all runs that it names.

    origins holds how the first production came about, nothing where there is none.
    """

    artifact: Artifact
    versions: list[tuple[int, int]]
    made: list[Made]
    names: dict[Made, str]
    origins: list[Origin]
    consumers: list[str]
    runs: dict[str, wire.RunSummary]


def find(reader: Reader, graph: Graph, request: wire.FindRequest) -> wire.FindReply:
    """Answer Find.

    Raises InvalidRequest for a malformed digest, NotFound when nothing at all is known of a
    digest that was asked for without a path.
    """
    if not request.digest and not request.path:
        raise InvalidRequest("Find needs a digest or a path; give one of them")
    reply = wire.FindReply()
    runs: dict[str, wire.RunSummary] = {}
    found = artifacts_of(reader, request.digest, CANDIDATES) if request.digest else []
    if len(found) > 1:
        reply.candidates.extend(each.digest for each in found)
    elif found:
        story = _story(reader, graph, found[0], request)
        _tell_story(reader, story, reply)
        runs = story.runs
    elif not request.path:
        raise NotFound(f"no content with digest {request.digest} was ever seen")
    if request.path:
        held = held_at(reader, request.path, request.host or None)
        touching = {each.run_id for each in held if each.run_id}
        runs |= rows.run_summaries(reader, touching - runs.keys())
        reply.path_versions.extend(path_version(request.path, each, runs) for each in held)
    return reply


def _story(reader: Reader, graph: Graph, artifact: Artifact, request: wire.FindRequest) -> _Story:
    versions = versions_of(reader, artifact.artifact_id)
    version_ids = [version_id for version_id, _ in versions]
    made = makers_of(reader, version_ids, PRODUCTIONS)
    makers = {each.run_id for each in made}
    runs = rows.run_summaries(reader, makers)
    made = [each for each in made if each.run_id in runs]
    ended = {run_id: run.ended_unix_ns for run_id, run in runs.items()}
    names = names_now(reader, made, ended)
    copies = _copies(reader, version_ids, made) if len(made) > 1 else set()
    named = versions_named(reader, request.path) if len(made) > 1 else frozenset()
    made.sort(
        key=lambda each: _rank(each, names[each], named, copies, runs[each.run_id].host, request)
    )
    told = origins(reader, graph, made[:1])
    consumers = [
        run_id
        for run_id, _ in consumers_of(reader, version_ids, CONSUMERS_LISTED + len(makers))
        if run_id not in makers
    ]
    more = {run_id for each in told for run_id in each.reached} | set(consumers)
    runs |= rows.run_summaries(reader, more - runs.keys())
    return _Story(artifact, versions, made, names, told, consumers, runs)


def _copies(reader: Reader, version_ids: list[int], made: list[Made]) -> set[str]:
    """Return the runs that had read a content before they wrote it."""
    own = {(each.run_id, each.version_id) for each in made}
    bound_ns = {each.run_id: each.bound_ns for each in reversed(made)}
    return {
        read.run_id
        for read in reads_by(reader, version_ids, bound_ns)
        if (read.run_id, read.version_id) not in own and read.first_ns <= bound_ns[read.run_id]
    }


def _rank(
    made: Made,
    name: str,
    named: Collection[int],
    copies: Collection[str],
    host: str,
    request: wire.FindRequest,
) -> int:
    """Order productions: of the very path that was asked for, then what is no mere copy.

    A file that got the path as a further name (a hard link) is of that path too.
    """
    if (name == request.path or made.version_id in named) and request.host in ("", host):
        return 0 if name == request.path else 1
    return 3 if made.run_id in copies else 2


def _tell_story(reader: Reader, story: _Story, reply: wire.FindReply) -> None:
    reply.artifact.CopyFrom(_artifact(reader, story))
    shown = rows.processes(reader, {each.process_id for each in story.made})
    process = {each.process_id: each for each in shown}
    for made in story.made:
        production = wire.Production(
            run=story.runs[made.run_id],
            process=process.get(str(made.process_id)),
            path=story.names[made],
            written_unix_ns=made.written_ns,
            complete=True,
            truncated=True,
        )
        add_completeness(production, [production.run])
        if made is story.made[0]:
            production.ClearField("incomplete_reasons")
            tell(story.origins[0], story.runs, production)
            edges = tree_edges(reader, [made.run_id]).get(made.run_id, ())
            production.trees.extend(edge for edge in edges if not edge.wrote)
        reply.productions.append(production)
    listed = [story.runs[run_id] for run_id in story.consumers if run_id in story.runs]
    reply.consumers.extend(listed[:CONSUMERS_LISTED])


def _artifact(reader: Reader, story: _Story) -> wire.Artifact:
    artifact = story.artifact
    version_id, path_id = story.versions[-1] if story.versions else (0, 0)
    boots = reader.rows("SELECT boot_id FROM file_version WHERE version_id = ?", (version_id,))
    host = host_names(reader).get(boots[0][0]) if boots else None
    return wire.Artifact(
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        first_seen_unix_ns=artifact.first_seen_ns,
        **rows.given(
            ("sha256", "last_path", "host"),
            (artifact.sha256, paths(reader, [path_id]).get(path_id), host),
        ),
    )
