"""The answer to Recipe: the runs to do again in their order, and what has to be there before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.answers_roots import sources_of
from whence_collector.classes import SHOWN
from whence_collector.closure import Start, above, reads_of, start_of
from whence_collector.lookups import host_names, where_in
from whence_collector.reached import Reached
from whence_collector.run_material import families_of, work_of
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whence_collector.graph import Graph
    from whence_collector.run_material import Worked
    from whence_collector.store import Reader
    from whence_proto.v1 import query_pb2

STEPS_LISTED = 1_000
PLACES_LISTED = 20
CHANGES = "SELECT run_id, path, change, difference, reason, redacted FROM run_code_changes"
INTERPRETERS = "SELECT run_id, name, version, path FROM run_interpreters"
SEEDS = 'SELECT run_id, name, "value" FROM run_seeds'
KEYS = "SELECT run_id, exact, same_result, intent FROM run_recipes"
REMOTES = """
SELECT r.run_id, any_value(c.remote) FROM run r
JOIN process_run m ON m.run_id = r.run_id
JOIN code_state c ON c.process_id = m.process_id AND c.remote IS NOT NULL
WHERE r.run_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY r.run_id
"""
IMAGES = """
SELECT r.run_id, coalesce(c.image_digest, c.image) FROM run r
JOIN containers c USING (container_id)
WHERE r.run_id IN (SELECT unnest(?::VARCHAR[]))
"""
SEEN_AT = """
SELECT d.artifact_id, v.boot_id, n.path, d.at_unix_ns
FROM version_digest d JOIN file_version v USING (version_id) JOIN path n USING (path_id)
WHERE d.artifact_id IN (SELECT unnest(?::INTEGER[]))
ORDER BY d.at_unix_ns DESC
"""


def recipe(reader: Reader, graph: Graph, request: wire.RecipeRequest) -> wire.RecipeReply:
    """Answer Recipe; raises InvalidRequest and NotFound."""
    start = _one_maker(reader, start_of(reader, request.subject))
    reply = wire.RecipeReply(subject=start.name)
    reached = above(graph, start)
    if not reached:
        reply.gaps.append("no observed run made it: it is data that has to be there")
        return reply
    runs = rows.run_summaries(reader, reached)
    wanted = _runnable(reader, runs)
    if len(wanted) > STEPS_LISTED:
        reply.gaps.append(f"{len(wanted) - STEPS_LISTED} earlier runs are left out")
        wanted = wanted[-STEPS_LISTED:]
    work = work_of(reader, graph, wanted)
    runs = rows.run_summaries(reader, wanted)
    for step in _steps(reader, wanted, work, runs):
        reply.steps.append(step)
    _tell_inputs(reader, reply, [work[run_id] for run_id in wanted if run_id in work])
    _tell_gaps(reply)
    return reply


def _one_maker(reader: Reader, start: Start) -> Start:
    """Of several runs that made a content keep the newest that did more than copy it."""
    if start.artifact is None or len(start.bounds) < 2:
        return start
    reached = {run_id: Reached(bound, 0, True) for run_id, bound in start.bounds.items()}
    copies = {hit.run_id for hit in reads_of(reader, [start.artifact.artifact_id], reached)}
    makers = [run_id for run_id in start.bounds if run_id not in copies] or list(start.bounds)
    newest = max(makers, key=lambda run_id: start.bounds[run_id])
    return Start(start.name, {newest: start.bounds[newest]}, start.artifact)


def _runnable(reader: Reader, runs: Mapping[str, query_pb2.RunSummary]) -> list[str]:
    """Return what has to be started, in the order of its start: what a person had started.

    A step is done by doing its script: only the script tells where the shell sent its output.
    """
    known = dict(runs)
    missing = _parents(known)
    while missing:
        found = rows.run_summaries(reader, missing)
        known |= found
        missing = _parents(known) if found else set()

    def outermost(run_id: str) -> str:
        above = known[run_id].parent_run_id
        while above in known and known[above].kind != "session":
            run_id, above = above, known[above].parent_run_id
        return run_id

    tops = {outermost(run_id) for run_id, run in runs.items() if run.kind != "session"}
    return sorted(tops, key=lambda run_id: (known[run_id].started_unix_ns, run_id))


def _parents(known: Mapping[str, query_pb2.RunSummary]) -> set[str]:
    return {run.parent_run_id for run in known.values() if run.parent_run_id} - known.keys()


def _steps(
    reader: Reader,
    wanted: list[str],
    work: Mapping[str, Worked],
    runs: Mapping[str, query_pb2.RunSummary],
) -> Iterable[wire.RecipeStep]:
    changes, interpreters = defaultdict(list), defaultdict(list)
    seeds: dict[str, list[str]] = defaultdict(list)
    top = {
        step: run_id for run_id, family in families_of(reader, wanted).items() for step in family
    }
    for run_id, *change in where_in(reader, CHANGES, "run_id", list(top)):
        changes[top[run_id]].append(_change(*change))
    for run_id, *words in where_in(reader, INTERPRETERS, "run_id", list(top)):
        interpreters[top[run_id]].append(" ".join(word for word in words if word))
    for run_id, name, value in where_in(reader, SEEDS, "run_id", list(top)):
        seeds[top[run_id]].append(f"{name}={value}")
    keys = {run_id: rest for run_id, *rest in where_in(reader, KEYS, "run_id", wanted)}
    remotes: dict[str, str] = dict(reader.rows(REMOTES, (wanted,)))
    images: dict[str, str] = dict(reader.rows(IMAGES, (wanted,)))
    for run_id in wanted:
        if run_id not in work:
            continue
        each = work[run_id]
        exact, same_result, intent = keys.get(run_id, (None, None, None))
        yield wire.RecipeStep(
            run=runs[run_id],
            argv=each.argv,
            environment=[word for pair in sorted(each.environment) for word in pair],
            remote=remotes.get(run_id),
            changes=list({change.path: change for change in changes[run_id]}.values()),
            packages=each.packages,
            interpreters=sorted(set(interpreters[run_id])),
            image=images.get(run_id),
            seeds=sorted(set(seeds[run_id])),
            inputs=[rows.file_edge(file) for file in each.inputs if file.file_class in SHOWN],
            outputs=[rows.file_edge(file) for file in each.outputs],
            exact=exact,
            same_result=same_result,
            intent=intent,
        )


def _change(
    path: str, change: str, difference: str | None, reason: str | None, redacted: bool
) -> wire.CodeDifference:
    return wire.CodeDifference(
        path=path, change=change, difference=difference, reason=reason, redacted=redacted
    )


def _tell_inputs(reader: Reader, reply: wire.RecipeReply, work: list[Worked]) -> None:
    """List what no earlier step makes, each content once under each name."""
    made: set[str] = set()
    files: dict[tuple[str, str], rows.File] = {}
    read_on: dict[tuple[str, str], str] = {}
    hosts = {step.run.run_id: step.run.host for step in reply.steps}
    for each in work:
        for file in each.inputs:
            if file.file_class in SHOWN and not (file.digest and file.digest in made):
                files.setdefault((file.path, file.key), file)
                read_on.setdefault((file.path, file.key), hosts.get(each.run_id, ""))
        made |= {file.digest for file in each.outputs if file.digest}
    listed = list(files.values())
    sources = sources_of(reader, listed)
    places = _places(reader, listed)
    for file in listed:
        artifact_id = file.content.artifact_id if file.content else None
        reply.inputs.add(
            file=rows.file_edge(file),
            host=read_on[file.path, file.key],
            seen_at=places.get(artifact_id or 0, ())[:PLACES_LISTED],
            source=sources.get(file.version_id),
        )


def _places(reader: Reader, files: list[rows.File]) -> dict[int, list[str]]:
    ids = {file.content.artifact_id for file in files if file.content and file.content.artifact_id}
    names = host_names(reader)
    places: dict[int, list[str]] = defaultdict(list)
    for artifact_id, boot_id, path, _ in reader.rows(SEEN_AT, (list(ids),)) if ids else ():
        place = f"{names.get(boot_id, '?')}:{path}"
        if place not in places[artifact_id]:
            places[artifact_id].append(place)
    return places


def _tell_gaps(reply: wire.RecipeReply) -> None:
    for item in reply.inputs:
        if not item.file.digest:
            why = f" ({item.file.reason})" if item.file.reason else ""
            reply.gaps.append(f"the content of {item.file.path} is not known{why}")
    for step in reply.steps:
        name = f"run {step.run.run_id} ({step.run.command[:60]})"
        if not step.run.complete:
            reason = step.run.incomplete_reason or "not all of it was seen"
            reply.gaps.append(f"{name}: {reason}")
        for change in step.changes:
            if change.redacted:
                reply.gaps.append(f"{name}: {change.path} held a secret, which was replaced")
            elif not change.difference:
                reply.gaps.append(f"{name}: {change.path} differs from the commit, not known how")
        if not step.seeds:
            reply.gaps.append(f"{name}: no seed was seen")
