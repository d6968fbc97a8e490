"""The answer to Compare: what differs between two runs and what they were made from, ranked.

Runs behind the two sides are matched by what they do (program and script), not by where or when
they ran; what differs further up counts for less than what differs in the runs themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from posixpath import basename
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.answers_repeats import costs_of
from whence_collector.answers_said import metrics_of
from whence_collector.closure import Start, above, start_of
from whence_collector.errors import NotFound
from whence_collector.lookups import members_of, where_in
from whence_collector.recipe_keys import plain_words
from whence_collector.run_material import Worked, work_of
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whence_collector.graph import Graph
    from whence_collector.store import Reader

CATEGORIES = ("data", "arguments", "code", "environment", "host", "outcome", "cost")
# Likely cause first: other data explains most, then other parameters, then other code. What came
# out is an effect, so it comes last.
WEIGHTS = {
    "data": 1.0,
    "arguments": 0.9,
    "code": 0.85,
    "environment": 0.5,
    "host": 0.3,
    "outcome": 0.2,
    "cost": 0.1,
}
FAR = 0.7  # what counts of a difference with each run further up
RUNS_COMPARED = 50
LISTED = 500
VERSION_OF = re.compile(r"^(\S+ \S+) (.*)$")
HOSTS = "SELECT h.name, h.host_id FROM host h"


@dataclass(frozen=True, slots=True)
class Side:
    """One run with all that is compared of it."""

    work: Worked
    hops: int
    facts: Mapping[str, Mapping[str, str]]  # category -> what -> value


def compare(reader: Reader, graph: Graph, request: wire.CompareRequest) -> wire.CompareReply:
    """Answer Compare; raises InvalidRequest, and NotFound where no observed run made a side."""
    starts = [start_of(reader, text) for text in (request.a, request.b)]
    for text, start in zip((request.a, request.b), starts, strict=True):
        if not start.bounds:
            raise NotFound(f"no observed run made {text}; compare what runs made")
    tops = [_top(start) for start in starts]
    runs = rows.run_summaries(reader, tops)
    reply = wire.CompareReply(a=runs[tops[0]], b=runs[tops[1]])
    sides = [_sides(reader, graph, start, top) for start, top in zip(starts, tops, strict=True)]
    found: list[wire.Difference] = []
    seen: set[tuple[str, str, str, str]] = set()
    for a, b in _pairs(*sides):
        for difference in _differences(a, b):
            key = (difference.category, difference.what, difference.a, difference.b)
            if key not in seen:
                seen.add(key)
                found.append(difference)
    found.sort(key=lambda each: (-each.weight, each.category, each.what))
    reply.differences.extend(found[:LISTED])
    differing = {difference.category for difference in found}
    reply.same.extend(each for each in CATEGORIES if each not in differing)
    if len(found) > LISTED:
        reply.reasons.append(f"{len(found) - LISTED} lesser differences are left out")
    reply.reasons.extend(
        f"run {run.run_id}: {run.incomplete_reason}" for run in runs.values() if not run.complete
    )
    return reply


def _top(start: Start) -> str:
    """The run that a subject stands for: of a content, the one that wrote it last."""
    if start.artifact is None:
        return next(iter(start.bounds))
    return max(start.bounds, key=lambda run_id: start.bounds[run_id])


def _sides(reader: Reader, graph: Graph, start: Start, top: str) -> list[Side]:
    reached = above(graph, start)
    nearest = sorted(reached, key=lambda run_id: (run_id != top, reached[run_id].hops))
    work = work_of(reader, graph, nearest[:RUNS_COMPARED])
    facts = _facts(reader, work)
    return [
        Side(work[run_id], 0 if run_id == top else max(reached[run_id].hops, 1), facts[run_id])
        for run_id in nearest[:RUNS_COMPARED]
        if run_id in work
    ]


def _pairs(a: list[Side], b: list[Side]) -> list[tuple[Side, Side]]:
    """Match the two runs themselves, then those that do the same, nearest first."""
    waiting: dict[str, list[Side]] = defaultdict(list)
    for side in b[1:]:
        waiting[_role(side.work)].append(side)
    further = [
        (side, waiting[_role(side.work)].pop(0)) for side in a[1:] if waiting[_role(side.work)]
    ]
    return [(a[0], b[0]), *further]


def _role(work: Worked) -> str:
    words = plain_words(work.argv)
    scripts = [word for word in words[1:] if not word.startswith("-")]
    return " ".join([*words[:1], *(basename(word) for word in scripts[:1])])


def _facts(reader: Reader, work: Mapping[str, Worked]) -> dict[str, dict[str, dict[str, str]]]:
    ids = list(work)
    code = {
        run_id: (commit, branch)
        for run_id, commit, branch in where_in(
            reader, "SELECT run_id, git_commit, git_branch FROM run", "run_id", ids
        )
    }
    runs = rows.run_summaries(reader, ids)
    costs = costs_of(reader, ids)
    return {
        run_id: {
            "data": _files(each, ("data", "model")),
            "code": _files(each, ("code",)) | _commit(*code.get(run_id, (None, None))),
            "arguments": _arguments(each) | _files(each, ("config",)),
            "environment": _surroundings(each),
            "host": {"host": runs[run_id].host, "user": runs[run_id].user},
            "outcome": _outcome(reader, each),
            "cost": {"cost": f"${costs[run_id]:.2f}"} if run_id in costs else {},
        }
        for run_id, each in work.items()
    }


def _commit(commit: str | None, branch: str | None) -> dict[str, str]:
    facts = {"commit": commit, "branch": branch}
    return {name: value for name, value in facts.items() if value}


def _files(work: Worked, classes: tuple[str, ...]) -> dict[str, str]:
    """Digests by name; a name is relative to the folder that the run worked in."""
    files: dict[str, str] = {}
    for file in work.inputs:
        if file.file_class in classes:
            files.setdefault(_near(file.path, work.cwd), file.digest or "not known")
    return files


def _near(path: str, cwd: str | None) -> str:
    return path[len(cwd) + 1 :] if cwd and path.startswith(cwd.rstrip("/") + "/") else path


def _arguments(work: Worked) -> dict[str, str]:
    """Options by name; words that are none by their place."""
    return arguments_of(plain_words(work.argv), work.cwd)


def arguments_of(words: Iterable[str], cwd: str | None) -> dict[str, str]:
    """Return --name value, --name=value, -n value, name=value and plain words as facts. Pure."""
    facts: dict[str, str] = {}
    waiting: str | None = None
    place = 0
    for word in words:
        is_option = word.startswith("-") and len(word) > 1 and not re.match(r"^-[\d.]", word)
        if waiting is not None:
            facts[waiting] = "given" if is_option else _near(word, cwd)
            waiting = None
            if not is_option:
                continue
        name, equals, value = word.partition("=")
        if is_option and equals:
            facts[name] = _near(value, cwd)
        elif is_option:
            waiting = word
        elif equals and re.fullmatch(r"[\w.+~-]+", name):
            facts[name] = _near(value, cwd)
        else:
            facts["program" if place == 0 else f"argument {place}"] = _near(word, cwd)
            place += 1
    if waiting is not None:
        facts[waiting] = "given"
    return facts


def _surroundings(work: Worked) -> dict[str, str]:
    facts = {f"variable {name}": value for name, value in work.environment}
    for package in work.packages:
        found = VERSION_OF.match(package)
        facts[found[1] if found else package] = found[2] if found else ""
    return facts


def _outcome(reader: Reader, work: Worked) -> dict[str, str]:
    facts = {"status": work.status}
    if work.ended_ns is not None:
        facts["took"] = f"{(work.ended_ns - work.started_ns) / 1e9:.3g} s"
    for metric in metrics_of(reader, list(members_of(reader, [work.run_id]))):
        facts[f"metric {metric.name}"] = f"{metric.value:.6g}"
    for file in work.outputs:
        if file.file_class in ("data", "model") and not file.deleted:
            facts[f"made {_near(file.path, work.cwd)}"] = file.digest or "not known"
    return facts


def _differences(a: Side, b: Side) -> list[wire.Difference]:
    hops = max(a.hops, b.hops)
    found = []
    for category in CATEGORIES:
        if hops and category in ("outcome", "cost", "host"):
            continue  # of what lies further up only causes are told
        left, right = a.facts[category], b.facts[category]
        for what in sorted(left.keys() | right.keys()):
            if left.get(what) == right.get(what):
                continue
            found.append(
                wire.Difference(
                    category=category,
                    what=what,
                    a=left.get(what),
                    b=right.get(what),
                    weight=_weight(category, what, hops),
                    hops=hops,
                )
            )
    return found


def _weight(category: str, what: str, hops: int) -> float:
    weight = WEIGHTS[category] * FAR**hops
    if what in ("took", "branch"):
        weight *= 0.5
    return round(weight, 4)
