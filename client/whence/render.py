"""What is known of a content or path → lines for people. Pure; texts must be cleaned before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whence.model import FileEdge, Found, Package, PathVersion, Process, Production, Run
from whence.page import Cell, Column, Look, Page, columns, flow, labelled, wrap
from whence.render_tree_set import edge_of_tree, outside
from whence.text import (
    ago_text,
    cells,
    clip,
    clip_start,
    count_text,
    duration_text,
    near_path,
    short_command,
    short_digest,
    short_run,
    size_text,
)

STATUS_LOOKS: dict[str, Look] = {
    "succeeded": "good",
    "failed": "bad",
    "killed": "bad",
    "unknown": "odd",
    "running": "odd",
}
_MOST_PACKAGES = 8
_OF_THE_SYSTEM = ("deb", "rpm")
_CLASSES = ("data", "model", "code", "config", "library", "cache")
PENDING = "not hashed yet"
_MOST_EDGES = 12
_MOST_OTHERS = 3
_MOST_STAGES = 4
# The last column names who made a file: "← prepare.py 1a2b3c4d" is never cut.
_EDGE_COLUMNS = (
    Column(),
    Column(shrink=True, tail=True),
    Column(),
    Column(shrink=True, least=23),
)
_ROOT_COLUMNS = (Column(shrink=True, tail=True), Column(), Column(shrink=True, least=23))
_LINE_COLUMNS = (Column(shrink=True), Column(), Column(shrink=True, tail=True))


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: a path with what stands there now, or a digest.

    name: as typed. path: absolute, real. digest and size_bytes: of the content there now.
    """

    name: str
    path: str | None = None
    host: str | None = None
    digest: str | None = None
    size_bytes: int | None = None


def found_lines(page: Page, question: Question, found: Found) -> list[str]:
    """Return the answer to `whence PATH|DIGEST`; the first production is the one to tell."""
    if found.candidates:
        return _ambiguous_lines(page, question, found.candidates)
    if found.artifact is None:
        lines = [*_head(page, question, found), *_unknown_lines(page, question, found)]
        return lines + caveat_lines(page, found.caveats)
    lines = _head(page, question, found)
    if found.productions:
        lines += production_lines(page, found.productions[0])
    else:
        lines += labelled(page, "made by", ["no run that was observed: it was there before"])
    lines += _others(page, found.productions[1:])
    return lines + _consumers(page, found.consumers)


def _head(page: Page, question: Question, found: Found) -> list[str]:
    artifact = found.artifact
    digest = artifact.digest if artifact else question.digest
    size = artifact.size_bytes if artifact else question.size_bytes
    name = question.name
    if question.path is None and artifact is not None and artifact.last_path:
        name = artifact.last_path
    tail = [short_digest(digest)] if digest else []
    tail += [size_text(size)] if size is not None else []
    rest = "".join(f"  {part}" for part in tail)
    if page.width is not None:
        name = clip_start(name, max(page.width - cells(rest), 20))
    return [page.paint(name, "strong") + rest]


def production_lines(page: Page, production: Production) -> list[str]:
    """Return who made it, from what, through which runs, and whether that is all."""
    run = production.run
    lines = labelled(page, "made by", [*run_lines(page.inner(), run)])
    lines += _writer(page, run, production.process)
    if production.superseded:
        lines += labelled(page, "since", [page.paint("other content stands under its name", "odd")])
    lines += labelled(page, "from", _inputs(page, production))
    lines += labelled(page, "root data", _roots(page, production))
    lines += labelled(page, "lineage", _stages(page, production))
    return lines + labelled(page, "complete", _completeness(page, production))


def run_lines(page: Page, run: Run) -> list[str]:
    """Return a run in a few lines: command; identity and outcome; who and where; code."""
    facts = [
        f"run {short_run(run.run_id)}",
        page.paint(outcome(run), STATUS_LOOKS.get(run.status, "plain")),
        *([duration_text(run.ended_unix_ns - run.started_unix_ns)] if run.ended_unix_ns else []),
        ago_text(run.ended_unix_ns or run.started_unix_ns, page.now_unix_ns),
    ]
    place = f"{who(run)} on {run.host}" + (f" in {run.cwd}" if run.cwd else "")
    lines = [page.paint(line, "strong") for line in wrap(page, run.command or "?")]
    lines.append(" · ".join(facts))
    lines += wrap(page, place, 2)
    return lines + code_lines(page, run)


def who(run: Run) -> str:
    """Return who ran it: "ada", "claude for ada", "cron for ada"."""
    if run.principal_kind in ("agent", "service") and run.principal:
        human = run.acting_for or run.user
        return f"{run.principal} for {human}"
    return run.principal or run.user


def outcome(run: Run) -> str:
    """Return how a run ended: "succeeded", "failed with 1", "running"."""
    if run.status == "failed" and run.exit_code is not None:
        return f"failed with {run.exit_code}"
    return run.status


def code_lines(page: Page, run: Run) -> list[str]:
    """Return the commit of the code, its branch and what differs; nothing where not known."""
    if run.git_commit is None:
        return []
    remarks = [run.git_branch] if run.git_branch else []
    if run.git_dirty:
        named = ", ".join(run.git_modified[:3])
        more = f" and {len(run.git_modified) - 3} more" if len(run.git_modified) > 3 else ""
        remarks.append(f"modified: {named}{more}" if named else "modified")
    tail = f" ({', '.join(remarks)})" if remarks else ""
    return wrap(page, f"code {run.git_commit[:7]}{tail}", 2)


def _writer(page: Page, run: Run, process: Process | None) -> list[str]:
    command = " ".join(process.argv) if process else ""
    if process is None or not command or command == run.command:
        return []
    return labelled(page, "written", wrap(page.inner(), f"{command}  (pid {process.pid})", 2))


def _inputs(page: Page, production: Production) -> list[str]:
    page = page.inner()
    roots = frozenset(edge.path for edge in production.root_inputs)
    cwd, trees = production.run.cwd, production.trees
    lines = [edge_of_tree(page, tree, cwd) for tree in trees]
    lines += edge_lines(page, outside(production.inputs, trees), cwd, roots=roots)
    if production.library_count:
        more = "and " if lines else ""
        noun = count_text(production.library_count, "library file")
        lines += [page.paint(each, "faint") for each in wrap(page, f"{more}{noun}", 1)]
    lines += [page.paint(each, "faint") for each in package_lines(page, production.packages)]
    return lines or ["nothing that was observed"]


def package_lines(page: Page, packages: Sequence[Package]) -> list[str]:
    """Return the packages that somebody chose to install, with versions, in a line or two."""
    chosen = [each for each in packages if each.ecosystem not in _OF_THE_SYSTEM]
    words = [
        f"{each.name} {each.version or '?'}{' (modified)' if each.modified else ''}"
        for each in chosen[:_MOST_PACKAGES]
    ]
    more = len(packages) - len(words)
    if words and more:
        words.append(f"{more} more")
    return wrap(page, f"packages {', '.join(words)}", 2) if words else []


def _roots(page: Page, production: Production) -> list[str]:
    """Return the root inputs further up; those read directly stand under "from", marked so."""
    direct = {(edge.path, edge.digest) for edge in production.inputs}
    roots = [e for e in production.root_inputs if (e.path, e.digest) not in direct]
    data = [edge for edge in roots if edge.class_ not in ("code", "config")]
    cwd = production.run.cwd
    rows = [_edge_cells(edge, cwd, frozenset())[1:] for edge in data[:_MOST_EDGES]]
    lines = columns(page.inner(), _ROOT_COLUMNS, rows)
    if len(data) > _MOST_EDGES:
        lines.append(page.paint(f"and {len(data) - _MOST_EDGES:,} more", "faint"))
    if data and len(roots) > len(data):
        noun = count_text(len(roots) - len(data), "file")
        lines.append(page.paint(f"and {noun} of code and configuration", "faint"))
    return lines


def edge_lines(
    page: Page,
    edges: Sequence[FileEdge],
    cwd: str | None,
    most: int | None = _MOST_EDGES,
    roots: frozenset[str] = frozenset(),
) -> list[str]:
    """Return files one a line: class, name, digest or state, and who made it or why not known.

    roots: paths that no observed run made.
    """
    edges = sorted(edges, key=lambda edge: _rank(edge, cwd))
    shown = edges if most is None else edges[:most]
    lines = columns(page, _EDGE_COLUMNS, [_edge_cells(edge, cwd, roots) for edge in shown])
    if len(shown) < len(edges):
        lines.append(page.paint(f"and {len(edges) - len(shown):,} more", "faint"))
    return lines


def class_rank(name: str) -> int:
    """Return the place of a class of files in lists: data first, caches last."""
    return _CLASSES.index(name) if name in _CLASSES else len(_CLASSES)


def _rank(edge: FileEdge, cwd: str | None) -> tuple[int, bool, bool]:
    """Order what a person looks for first: data before code, made before found, near before far."""
    near = near_path(edge.path, cwd) != edge.path
    return class_rank(edge.class_), edge.producer_run_id is None, not near


def _edge_cells(edge: FileEdge, cwd: str | None, roots: frozenset[str]) -> list[Cell]:
    return [
        Cell(edge.class_, "faint"),
        Cell(_hub_name(edge.origin) if edge.origin else near_path(edge.path, cwd)),
        content_cell(edge.digest, edge.state),
        Cell(_edge_remark(edge, roots), "faint"),
    ]


def _edge_remark(edge: FileEdge, roots: frozenset[str]) -> str:
    if edge.digest is None and edge.reason is not None:
        return edge.reason
    if edge.producer_run_id is not None:
        name = clip(short_command(edge.producer_command or ""), 12)
        return f"← {name} {short_run(edge.producer_run_id)}"
    words = [edge.origin.rpartition(":")[2]] if edge.origin else []
    words += [size_text(edge.size_bytes)] if edge.size_bytes is not None else []
    words += ["changed since"] if edge.changed_since else []
    words += ["deleted"] if edge.deleted else []
    words += ["root data"] if edge.path in roots and edge.class_ == "data" else []
    return ", ".join(words)


def _hub_name(origin: str) -> str:
    """Return "org/name@revision", shortened; the path in the cache tells less."""
    name, _, rest = origin.partition("@")
    return f"{name}@{rest.partition(':')[0][:7]}"


def content_cell(digest: str | None, state: str | None) -> Cell:
    """Return a short digest, or the state that stands in its place."""
    if digest is not None:
        return Cell(short_digest(digest, 8), "faint")
    return Cell(state or PENDING, "odd")


def _stages(page: Page, production: Production) -> list[str]:
    """Return how the work went: earlier runs → those it took files from → the run itself."""
    if not production.ancestry:
        return []
    direct = {edge.producer_run_id for edge in production.inputs}
    far = [run for run in production.ancestry if run.run_id not in direct]
    near = [run for run in production.ancestry if run.run_id in direct]
    stages = [_stage(part) for part in (far, near) if part]
    if production.truncated:
        stages.insert(0, "…")
    stages.append(short_command(production.run.command))
    return flow(page.inner(), stages, " → ")


def _stage(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(short_command(run.command) for run in reversed(runs)))
    more = f" and {len(names) - _MOST_STAGES} more" if len(names) > _MOST_STAGES else ""
    return ", ".join(names[-_MOST_STAGES:]) + more


def _completeness(page: Page, production: Production) -> list[str]:
    if production.complete:
        return [page.paint("yes", "good") + ": nothing is known to be missing"]
    reasons = production.incomplete_reasons or ("the reason is not known",)
    return complete_lines(page, production.complete, reasons)


def complete_lines(page: Page, complete: bool, reasons: Sequence[str]) -> list[str]:
    """Return yes, or no with one line for each reason."""
    if complete:
        return [page.paint("yes", "good")]
    inner = page.inner()
    body = [line for reason in reasons[:4] for line in wrap(inner, f"no: {reason}", 3)]
    if len(reasons) > 4:
        body.append(f"and {len(reasons) - 4} more reasons")
    return [page.paint(line, "odd") for line in body]


def _others(page: Page, productions: Sequence[Production]) -> list[str]:
    rows = [
        [
            Cell(f"by {short_command(production.run.command)}"),
            Cell(f"run {short_run(production.run.run_id)}"),
            Cell(f"as {production.path} on {production.run.host}"),
        ]
        for production in productions[:_MOST_OTHERS]
    ]
    lines = columns(page.inner(), _LINE_COLUMNS, rows)
    if len(productions) > _MOST_OTHERS:
        lines.append(f"and {count_text(len(productions) - _MOST_OTHERS, 'more time')}")
    return labelled(page, "also made", lines)


def _consumers(page: Page, runs: Sequence[Run]) -> list[str]:
    rows = [
        [
            Cell(short_command(run.command)),
            Cell(f"run {short_run(run.run_id)}"),
            Cell(ago_text(run.started_unix_ns, page.now_unix_ns), "faint"),
        ]
        for run in runs[:_MOST_OTHERS]
    ]
    lines = columns(page.inner(), _LINE_COLUMNS, rows)
    if len(runs) > _MOST_OTHERS:
        lines.append(page.paint(f"and {count_text(len(runs) - _MOST_OTHERS, 'more run')}", "faint"))
    return labelled(page, "read by", lines)


def _ambiguous_lines(page: Page, question: Question, candidates: Sequence[str]) -> list[str]:
    head = f"{question.name} is the beginning of {count_text(len(candidates), 'digest')}:"
    return [head, *(f"  {digest}" for digest in candidates), "ask with more digits"]


def caveat_lines(page: Page, caveats: Sequence[str]) -> list[str]:
    """Return what could hide what was asked for: a "no" is worth what was watched."""
    inner = page.inner()
    return labelled(
        page, "but", [line for caveat in caveats for line in wrap(inner, f"{caveat}", 2)]
    )


def _unknown_lines(page: Page, question: Question, found: Found) -> list[str]:
    if question.path is not None and question.digest is None:
        lines = labelled(page, "missing", ["there is no such file now"])
    elif any(v.digest is None and v.state is None for v in found.path_versions):
        words = "so far: a content seen here waits to be hashed, ask again in a moment"
        lines = labelled(page, "unknown", wrap(page.inner(), words))
    else:
        lines = labelled(page, "unknown", ["no observed run wrote or read this content"])
    if question.path is None:
        return lines
    if not found.path_versions:
        words = "nothing: whence has not seen this path written or read"
        return lines + labelled(page, "the path", wrap(page.inner(), words))
    lines += labelled(page, "the path", wrap(page.inner(), f"what was seen at {question.path}:"))
    return lines + labelled(page, "", version_lines(page.inner(), found.path_versions))


def version_lines(page: Page, versions: Sequence[PathVersion]) -> list[str]:
    """Return versions of a path: when, how, by which run, which content or why there is none."""
    shown = versions[:_MOST_EDGES]
    kinds = (Column(), Column(), Column(shrink=True), Column(), Column())
    rows = columns(page, kinds, [_version_cells(page, version) for version in shown])
    lines = []
    for row, version in zip(rows, shown, strict=True):
        lines.append(row)
        if version.digest is None and version.reason is not None:
            lines += [page.paint(f"  {line}", "faint") for line in _reason(page, version.reason)]
    if len(versions) > _MOST_EDGES:
        lines.append(page.paint(f"and {len(versions) - _MOST_EDGES:,} more", "faint"))
    return lines


def _reason(page: Page, reason: str) -> list[str]:
    return wrap(page.inner(2), f"because {reason}", 2)


def _version_cells(page: Page, version: PathVersion) -> list[Cell]:
    run = version.run
    when = "" if version.at_unix_ns is None else ago_text(version.at_unix_ns, page.now_unix_ns)
    return [
        Cell(when, "faint"),
        Cell(version.op),
        Cell(short_command(run.command) if run else ""),
        Cell(short_run(run.run_id) if run else "", "faint"),
        content_cell(version.digest, version.state),
    ]
