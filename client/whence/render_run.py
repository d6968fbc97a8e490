"""Runs → lines for people: the log, one run in full, its files. Pure; texts must be cleaned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.model import ChangedFile, FileEdge, Package, Process, Run, RunDetail, RunList
from whence.model_tags import Metric
from whence.page import Cell, Column, Page, columns, labelled, wrap
from whence.render import (
    STATUS_LOOKS,
    code_lines,
    complete_lines,
    edge_lines,
    outcome,
    package_lines,
    who,
)
from whence.render_tags import tag_lines
from whence.render_tree_set import edge_of_tree, outside
from whence.text import (
    age_text,
    brief_command,
    count_text,
    date_text,
    duration_text,
    number_text,
    short_run,
    size_text,
)

_LOG_COLUMNS = (
    Column("RUN"),
    Column("AGE", right=True),
    Column("TOOK", right=True),
    Column("OUTCOME"),
    Column("WHO", shrink=True, least=12),
    Column("COMMAND", shrink=True, least=20),
)
_MOST_PROCESSES = 12
_MOST_CHANGES = 10
_SIGNALS = {
    1: "hangup",
    2: "interrupt",
    6: "abort",
    9: "kill",
    11: "segmentation fault",
    15: "term",
}


def log_lines(page: Page, answer: RunList) -> list[str]:
    """Return runs as a table, newest first."""
    if not answer.runs:
        return ["no run matches: widen the filters (--all adds runs that wrote no file)"]
    lines = columns(page, _LOG_COLUMNS, [_log_cells(page, run) for run in answer.runs])
    if not all(run.complete for run in answer.runs):
        lines.append(page.paint("! not all of it is known: `whence show RUN` tells why", "odd"))
    if any(run.repeats_run_id is not None for run in answer.runs):
        lines.append(page.paint("= repeats an earlier run: `whence duplicates` tells which", "odd"))
    if answer.truncated:
        lines.append(page.paint("there are more: raise --limit", "faint"))
    return lines


def _log_cells(page: Page, run: Run) -> list[Cell]:
    ended_ns = run.ended_unix_ns
    took = "" if ended_ns is None else duration_text(ended_ns - run.started_unix_ns)
    words = outcome(run).replace(" with", "") + ("" if run.complete else " !")
    words += "" if run.repeats_run_id is None else " ="
    return [
        Cell(short_run(run.run_id), "strong"),
        Cell(age_text(run.started_unix_ns, page.now_unix_ns), "faint"),
        Cell(took),
        Cell(words, STATUS_LOOKS.get(run.status, "plain")),
        Cell(f"{run.user}@{run.host}"),
        Cell(brief_command(run.command)),
    ]


# What the kernel itself reads at an exec is no call of the program.
ALL_BUT_HEADERS = 0.99


def run_detail_lines(page: Page, detail: RunDetail) -> list[str]:
    """Return one run in full."""
    run, inner = detail.run, page.inner()
    reasons = (run.incomplete_reason or "the reason is not known",)
    lines = labelled(page, "run", [page.paint(run.run_id, "strong") + f"  {run.kind}"])
    lines += labelled(page, "command", wrap(inner, run.command, 5))
    lines += labelled(page, "outcome", [_outcome_line(page, run)])
    lines += labelled(page, "who", wrap(inner, f"{who(run)} on {run.host}"))
    lines += labelled(page, "ranks", _ranks(run))
    lines += labelled(page, "in", wrap(inner, run.cwd, 2) if run.cwd else [])
    lines += labelled(page, "code", _code(inner, run))
    lines += labelled(page, "changed", _changes(inner, detail.code_changes))
    lines += labelled(page, "project", [run.project] if run.project else [])
    lines += labelled(page, "tags", tag_lines(inner, detail.tags))
    lines += labelled(page, "measured", _metrics(inner, detail.metrics))
    lines += labelled(page, "request", [run.request_id] if run.request_id else [])
    lines += labelled(page, "part of", _parent(run))
    lines += labelled(page, "repeats", _repeats(run))
    lines += labelled(page, "complete", complete_lines(page, run.complete, reasons))
    lines += labelled(page, "proven", _proof(run))
    lines += labelled(page, "inputs", _inputs(inner, detail, 20))
    lines += labelled(page, "outputs", _outputs(inner, detail))
    lines += labelled(page, "steps", _steps(inner, detail.steps))
    lines += labelled(page, "packages", package_words(inner, detail.packages))
    return lines + labelled(page, "processes", _processes(inner, detail.processes))


def _outcome_line(page: Page, run: Run) -> str:
    took = duration_text((run.ended_unix_ns or page.now_unix_ns) - run.started_unix_ns)
    painted = page.paint(outcome(run), STATUS_LOOKS.get(run.status, "plain"))
    return f"{painted} · {took} · started {date_text(run.started_unix_ns)}"


def _code(page: Page, run: Run) -> list[str]:
    lines = [line.removeprefix("code ") for line in code_lines(page, run)]
    return lines + ([f"in {run.git_repository}"] if lines and run.git_repository else [])


def _proof(run: Run) -> list[str]:
    """Return what of the kernel's own account of the run was seen."""
    if not run.accounted_bytes or run.seen_bytes is None:
        return []
    share = run.seen_bytes / run.accounted_bytes
    shown = "all" if share > ALL_BUT_HEADERS else f"{share:.1%}"
    return [f"{shown} of {size_text(run.accounted_bytes)} that the kernel accounts to it"]


def _ranks(run: Run) -> list[str]:
    if run.world_size is None and run.attempts is None:
        return []
    words = [count_text(run.world_size, "rank")] if run.world_size is not None else []
    attempts = run.attempts or 1
    words += [count_text(attempts, "attempt")] if attempts > 1 else []
    words += [f"on {', '.join(run.hosts)}"] if len(run.hosts) > 1 else []
    return [" · ".join(words)] if words else []


def _changes(page: Page, changes: Sequence[ChangedFile]) -> list[str]:
    kinds = (Column(shrink=True), Column())
    rows = [[Cell(each.path), Cell(each.change, "faint")] for each in changes[:_MOST_CHANGES]]
    lines = columns(page, kinds, rows)
    if len(changes) > _MOST_CHANGES:
        lines.append(page.paint(f"and {len(changes) - _MOST_CHANGES:,} more", "faint"))
    return lines


def package_words(page: Page, packages: Sequence[Package]) -> list[str]:
    """Return packages under their own label."""
    return [line.removeprefix("packages ") for line in package_lines(page, packages)]


def _parent(run: Run) -> list[str]:
    return [f"run {short_run(run.parent_run_id)}"] if run.parent_run_id else []


def _repeats(run: Run) -> list[str]:
    if run.repeats_run_id is None:
        return []
    return [f"run {short_run(run.repeats_run_id)}: `whence duplicates` tells what that made"]


def _inputs(page: Page, detail: RunDetail, most: int | None) -> list[str]:
    trees = [tree for tree in detail.trees if not tree.wrote]
    lines = [edge_of_tree(page, tree, detail.run.cwd) for tree in trees]
    lines += edge_lines(page, outside(detail.inputs, trees), detail.run.cwd, most)
    if detail.library_count:
        lines.append(page.paint(_folded(detail.library_count), "faint"))
    return lines or ["none"]


def _outputs(page: Page, detail: RunDetail) -> list[str]:
    trees = [tree for tree in detail.trees if tree.wrote]
    lines = [edge_of_tree(page, tree, detail.run.cwd) for tree in trees]
    lines += edge_lines(page, outside(own_outputs(detail), trees), detail.run.cwd, 20)
    return lines or ["none"]


def _folded(count: int) -> str:
    return f"{count_text(count, 'file')} of libraries and caches: `whence inputs --all` lists them"


def own_outputs(detail: RunDetail) -> tuple[FileEdge, ...]:
    """Return the outputs without the producer where that is the run itself."""
    own = detail.run.run_id
    return tuple(
        replace(edge, producer_run_id=None) if edge.producer_run_id == own else edge
        for edge in detail.outputs
    )


def _metrics(page: Page, metrics: Sequence[Metric]) -> list[str]:
    kinds = (Column(), Column(right=True), Column(shrink=True))
    rows = [
        [
            Cell(metric.name),
            Cell(number_text(metric.value), "strong"),
            Cell(_of_metric(metric), "faint"),
        ]
        for metric in metrics
    ]
    return columns(page, kinds, rows)


def _of_metric(metric: Metric) -> str:
    at = [] if metric.step is None else [f"at step {metric.step:,}"]
    if metric.count > 1:
        span = f"{number_text(metric.least)} to {number_text(metric.greatest)}"
        at.append(f"{metric.count:,} values, {span}")
    return " · ".join(at)


def _steps(page: Page, steps: Sequence[Run]) -> list[str]:
    kinds = (Column(), Column(), Column(shrink=True))
    rows = [
        [
            Cell(short_run(step.run_id)),
            Cell(outcome(step), STATUS_LOOKS.get(step.status, "plain")),
            Cell(brief_command(step.command)),
        ]
        for step in steps
    ]
    return columns(page, kinds, rows)


def _processes(page: Page, processes: Sequence[Process]) -> list[str]:
    kinds = (Column(right=True), Column(), Column(shrink=True))
    rows = [
        [Cell(str(p.pid), "faint"), Cell(_ending(p)), Cell(" ".join(p.argv) or p.exe or "?")]
        for p in processes[:_MOST_PROCESSES]
    ]
    lines = columns(page, kinds, rows)
    if len(processes) > _MOST_PROCESSES:
        lines.append(page.paint(f"and {len(processes) - _MOST_PROCESSES:,} more", "faint"))
    return lines


def _ending(process: Process) -> str:
    if process.exit_signal:
        return f"killed ({_SIGNALS.get(process.exit_signal, f'signal {process.exit_signal}')})"
    if process.exit_code is not None:
        return f"exit {process.exit_code}"
    return "replaced" if process.ended_unix_ns is not None else "running"


def side_lines(
    page: Page, detail: RunDetail, edges: Sequence[FileEdge], folded: int, truncated: bool
) -> list[str]:
    """Return every file of one side of a run under a line that names the run."""
    run = detail.run
    head = page.clip(f"run {short_run(run.run_id)}  {run.command}")
    lines = [page.paint(head, "strong")]
    body = edge_lines(page, edges, run.cwd, None) or ["none"]
    if folded:
        body.append(page.paint(_folded(folded), "faint"))
    if truncated:
        body.append(page.paint("there are more: raise --limit", "faint"))
    return lines + body
