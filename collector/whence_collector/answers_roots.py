"""The answer to RootInputs: data that no observed run made, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.answers_origin import ROOT_CLASSES, undigested_inputs
from whence_collector.answers_tags import STANDING
from whence_collector.closure import above, start_of
from whence_collector.incomplete import COMMAND_CHARS, undigested_sentence
from whence_collector.lookups import where_in
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whence_collector.graph import Graph
    from whence_collector.store import Reader

LIMIT_DEFAULT, LIMIT_CAP = 1_000, 100_000
ORIGINS = "SELECT version_id, publisher, repository, revision, name FROM file_origin"
LABELS = f"""
SELECT subject, key, value FROM ({STANDING}) WHERE subject_kind = 'artifact'
"""  # noqa: S608 -- every part is written here


def root_inputs(
    reader: Reader, graph: Graph, request: wire.RootInputsRequest
) -> wire.RootInputsReply:
    """Answer RootInputs; raises InvalidRequest and NotFound."""
    start = start_of(reader, request.subject)
    reached = above(graph, start)
    limit = min(request.limit or LIMIT_DEFAULT, LIMIT_CAP)
    reply = wire.RootInputsReply(subject=start.name, complete=bool(reached))
    if not reached:
        reply.incomplete_reasons.append("no observed run made it")
        return reply
    seen = touches.load(reader, graph.classes, list(reached))
    bounds = {run_id: each.bound_ns for run_id, each in reached.items()}
    inputs = seen.inputs(bounds, ROOT_CLASSES)
    produced = [
        version for child, version in rows.producers(reader, list(reached)) if child in bounds
    ]
    inputs = inputs.only(~np.isin(inputs.version_id, np.array(produced, np.int64)))
    _, first = np.unique(inputs.version_id, return_index=True)
    once = inputs.only(np.sort(first))
    most = LIMIT_CAP if request.HasField("sourced") else limit
    files = _one_each(rows.read_files(reader, seen, once.only(slice(most))))
    sources, labels = sources_of(reader, files), labels_of(reader, files)
    repositories = _repositories(reader, list(reached))
    for file in files:
        source = sources.get(file.version_id) or _committed(file, repositories)
        if request.HasField("sourced") and request.sourced != (source is not None):
            continue
        if len(reply.inputs) == limit:
            reply.truncated = True
            break
        reply.inputs.add(
            file=rows.file_edge(file),
            run_id=file.run_id,
            source=source,
            labels=labels.get(file.digest or "", ()),
        )
    reply.truncated = reply.truncated or len(once) > most or seen.truncated
    undigested = list(undigested_inputs(reader, inputs).values())
    for run in rows.run_summaries(reader, reached).values():
        if not run.complete:
            reason = run.incomplete_reason or "the reason is not known"
            reply.incomplete_reasons.append(
                f"run {run.run_id} ({run.command[:COMMAND_CHARS]}): {reason}"
            )
    if undigested:
        reply.incomplete_reasons.append(undigested_sentence(undigested))
    reply.complete = not reply.incomplete_reasons
    return reply


def _one_each(files: Iterable[rows.File]) -> list[rows.File]:
    once: dict[str, rows.File] = {}
    for file in files:
        once.setdefault(file.key, file)
    return sorted(once.values(), key=lambda file: (file.file_class != "data", file.path))


def sources_of(reader: Reader, files: Sequence[rows.File]) -> dict[int, str]:
    """Return publishers' names of file versions, as "publisher:org/name@revision/file"."""
    found = where_in(reader, ORIGINS, "version_id", {file.version_id for file in files})
    return {
        version_id: f"{publisher}:{repository}"
        + (f"@{revision}" if revision else "")
        + (f"/{name}" if name else "")
        for version_id, publisher, repository, revision, name in found
    }


def labels_of(reader: Reader, files: Sequence[rows.File]) -> dict[str, list[str]]:
    """Return the tags of contents by digest, as they are written."""
    wanted = {file.digest for file in files if file.digest}
    labels: dict[str, list[str]] = {}
    for subject, key, value in reader.rows(LABELS) if wanted else ():
        if subject in wanted:
            labels.setdefault(subject, []).append(key if value is None else f"{key}={value}")
    return labels


def _repositories(reader: Reader, run_ids: list[str]) -> list[tuple[str, str, frozenset[str]]]:
    """Return (work tree, commit, files that were not as committed) of runs."""
    found = where_in(
        reader, "SELECT repository, git_commit, git_modified FROM run", "run_id", run_ids
    )
    return [
        (root.rstrip("/"), commit, frozenset(modified or ()))
        for root, commit, modified in found
        if root and commit
    ]


def _committed(
    file: rows.File, repositories: Sequence[tuple[str, str, frozenset[str]]]
) -> str | None:
    """A settings file that lies in a repository as committed is sourced by its commit."""
    if file.file_class != "config":
        return None
    for root, commit, modified in repositories:
        if file.path.startswith(root + "/") and file.path[len(root) + 1 :] not in modified:
            return f"git:{commit}"
    return None
