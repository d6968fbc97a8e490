"""What each command does: ask the collector, set the answer, return the exit status.

Parses no options and catches only what it can answer itself; `cli` does the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TextIO

from whence import commands_requests, render, render_run, render_status, render_tree, sql
from whence.client import Client
from whence.content import as_digest, hash_file, real_path
from whence.doctor import all_well, check_collector, check_daemon, check_host, control_socket
from whence.errors import MissingFileError, MisuseError, NotFoundError
from whence.model import Found, RunDetail, document, order_productions
from whence.options import COMMANDS
from whence.page import Page
from whence.progress import hashing_bar
from whence.render import Question
from whence.text import count_text, safe, short_digest, since_unix_ns

FOUND, NOT_FOUND, UNREACHABLE = 0, 1, 3
WAIT_S = 10.0  # for a digest that is being computed
_ASK_AGAIN_S = 0.2
_JUST_WRITTEN_S = 3.0  # the daemon delivers within two seconds of a process's end
_RUN_DIGITS = re.compile(r"[0-9a-f]{4,16}")
_NOTHING = Found(artifact=None, productions=(), consumers=(), path_versions=(), candidates=())


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command works: streams, page, environment, and the name of this host."""

    out: TextIO
    err: TextIO
    stdin: TextIO
    page: Page
    environment: Mapping[str, str]
    host: str

    def tell(self, lines: Sequence[str]) -> None:
        """Write lines for people to standard output."""
        self.out.writelines(f"{line}\n" for line in lines)

    def hand_over(self, value: object) -> None:
        """Write one JSON document to standard output."""
        self.out.write(json.dumps(document(value), indent=2) + "\n")

    def remark(self, text: str) -> None:
        """Write a remark to standard error."""
        self.err.write(f"whence: {text}\n")


Run = Callable[[argparse.Namespace, Desk, Client], int]


# whence PATH|DIGEST -------------------------------------------------------------------------


def run_find(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell how a file or content was made."""
    question = _question(options.what, desk)
    found = _find(client, question, getattr(options, "wait", WAIT_S))
    if question.path is not None and question.digest is None and not found.path_versions:
        raise MissingFileError(f"{_missing(options.what)}; nothing is known of that path either")
    if options.json:
        desk.hand_over(_find_document(question, found))
    else:
        desk.tell(render.found_lines(desk.page, safe(question), safe(found)))
        _hint(options.what, found, desk)
    return NOT_FOUND if found.artifact is None else FOUND


def kind_of(text: str) -> Literal["path", "digest", "run or digest"]:
    """Return what a text names: a path that exists wins over a digest, that over a new path."""
    if os.path.lexists(text):
        return "path"
    if _RUN_DIGITS.fullmatch(text):
        return "run or digest"
    return "path" if as_digest(text) is None else "digest"


def _question(text: str, desk: Desk) -> Question:
    digest = None if kind_of(text) == "path" else as_digest(text)
    if digest is not None:
        return Question(name=text, digest=digest)
    question = Question(name=text, path=real_path(text), host=desk.host)
    try:
        with hashing_bar(safe(text), desk.err) as progress:
            content = hash_file(text, progress)
    except MissingFileError:
        return question
    return replace(question, digest=content.digest, size_bytes=content.size_bytes)


def _find(client: Client, question: Question, wait_s: float = WAIT_S) -> Found:
    """Ask; content that the daemon is about to hash is waited for, at most ``wait_s`` seconds."""
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            found = client.find(question.digest, question.path, question.host)
        except NotFoundError:
            found = _NOTHING
        if not _may_come(question, found) or time.monotonic() >= deadline_s:
            break
        time.sleep(_ASK_AGAIN_S)
    return replace(found, productions=order_productions(found, question.path, question.host))


def _may_come(question: Question, found: Found) -> bool:
    """Whether the content is unknown only because it was written a moment ago."""
    if question.digest is None or question.path is None or found.artifact is not None:
        return False
    if any(version.digest is None and version.state is None for version in found.path_versions):
        return True
    try:
        return time.time() - Path(question.path).stat().st_mtime < _JUST_WRITTEN_S
    except OSError:
        return False  # gone meanwhile, or a name that is not text


def _find_document(question: Question, found: Found) -> dict[str, object]:
    asked: dict[str, object] = {
        "found": found.artifact is not None,
        "path": question.path,
        "host": question.host,
        "digest": found.artifact.digest if found.artifact else question.digest,
        "size_bytes": question.size_bytes,
    }
    known = document(found)
    return asked | known if isinstance(known, dict) else asked


def _hint(text: str, found: Found, desk: Desk) -> None:
    if found.artifact is not None or found.candidates:
        return
    if kind_of(text) == "run or digest":
        desk.remark(f"if {safe(text)} is a run, ask `whence show {safe(text)}`")
        return
    digest = next((version.digest for version in found.path_versions if version.digest), None)
    if digest is not None:
        desk.remark(f"ask how its last known content was made: `whence {short_digest(digest)}`")


def _missing(text: str) -> str:
    if os.path.lexists(text):
        return f"{text} links to {os.path.realpath(text)}, which does not exist"
    meant = get_close_matches(text, COMMANDS, 1)
    return f"{text} does not exist" + (f" (did you mean `whence {meant[0]}`?)" if meant else "")


# Runs ---------------------------------------------------------------------------------------


def run_log(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List runs."""
    answer = client.list_runs(
        user=options.user,
        project=options.project,
        since_unix_ns=_since(options.since, desk),
        status=options.status,
        gpu=True if options.gpu else None,
        limit=options.limit,
        steps=options.steps,
        every=options.all,
    )
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_run.log_lines(desk.page, safe(answer)))
    return FOUND


def _since(text: str | None, desk: Desk) -> int | None:
    if text is None:
        return None
    try:
        return since_unix_ns(text, desk.page.now_unix_ns)
    except ValueError:
        raise MisuseError(
            f"--since {text!r} is no time: write 30m, 2h, 3d or 2026-11-23T10:00"
        ) from None


def run_show(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell everything of one run; for a digest or path do as `whence PATH` does."""
    detail = _run_by_id(options.what, client, all_classes=False)
    if detail is None:
        return run_find(options, desk, client)
    if options.json:
        desk.hand_over(detail)
    else:
        desk.tell(render_run.run_detail_lines(desk.page, safe(detail)))
    return FOUND


def _run_by_id(text: str, client: Client, all_classes: bool, limit: int = 0) -> RunDetail | None:
    """Return the run of an id; None where the text must be a path or digest instead."""
    if kind_of(text) != "run or digest":
        return None
    try:
        return client.get_run(text, limit, all_classes)
    except NotFoundError:
        if as_digest(text) is None:
            raise
        return None


def run_inputs(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List what a run read."""
    detail = _run_of(options, desk, client)
    return _side(options, desk, detail, "inputs")


def run_outputs(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List what a run wrote."""
    detail = _run_of(options, desk, client)
    return _side(options, desk, detail, "outputs")


def _run_of(options: argparse.Namespace, desk: Desk, client: Client) -> RunDetail:
    """Return the run of an id, or the run that made a file."""
    everything, limit = getattr(options, "all", False), options.limit
    detail = _run_by_id(options.what, client, everything, limit)
    if detail is not None:
        return detail
    found = _find(client, _question(options.what, desk))
    written = [v.run for v in found.path_versions if v.run is not None and v.op == "write"]
    makers = [production.run for production in found.productions] or written
    if not makers:
        raise NotFoundError(
            f"no observed run is or made {safe(options.what)}: `whence log` lists the runs"
        )
    return client.get_run(makers[0].run_id, limit, everything)


def _side(
    options: argparse.Namespace,
    desk: Desk,
    detail: RunDetail,
    side: Literal["inputs", "outputs"],
) -> int:
    edges = detail.inputs if side == "inputs" else detail.outputs
    folded = detail.library_count if side == "inputs" else 0
    if options.json:
        head = {"run": detail.run, side: edges}
        tail = {"library_count": folded} if side == "inputs" else {}
        desk.hand_over(head | tail | {"truncated": detail.truncated})
        return FOUND
    clean = safe(detail)
    edges = clean.inputs if side == "inputs" else render_run.own_outputs(clean)
    desk.tell(render_run.side_lines(desk.page, clean, edges, folded, detail.truncated))
    return FOUND


# Lineage ------------------------------------------------------------------------------------


def run_lineage(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Draw what a file or run came from, or what came from it."""
    start, path = _start(options.what, desk, client)
    answer = client.lineage(
        start,
        downstream=options.down,
        depth=options.depth,
        limit=options.limit,
        all_classes=options.all,
    )
    if not answer.runs and not answer.files:
        raise NotFoundError(f"nothing is known of {options.what}: `whence log` lists the runs")
    if options.json or options.format == "json":
        desk.hand_over(answer)
        return FOUND
    graph = safe(answer)
    if options.format == "tree":
        desk.tell(render_tree.tree_lines(desk.page, graph, options.down, safe(path)))
    else:
        write = render_tree.dot_text if options.format == "dot" else render_tree.mermaid_text
        desk.tell([write(graph)])
    return FOUND


def _start(text: str, desk: Desk, client: Client) -> tuple[str, str | None]:
    """Return a digest or run id to start from, and the path where one was asked for."""
    if kind_of(text) == "run or digest":
        return text, None
    question = _question(text, desk)
    if question.digest is not None:
        return question.digest, question.path
    seen = [v.digest for v in _find(client, question).path_versions if v.digest is not None]
    if not seen:
        raise MissingFileError(f"{_missing(text)}; nothing is known of that path either")
    return seen[0], question.path


# SQL, status, doctor ------------------------------------------------------------------------


def run_sql(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Answer one SELECT."""
    query = desk.stdin.read() if options.query == "-" else options.query
    if not query.strip():
        raise MisuseError("the statement is empty: give a SELECT over the views, such as runs")
    found = client.sql(query, options.max_rows)
    if options.json:
        count, cut = sql.write_objects(desk.out, found)
    else:  # the width of a column is that of its widest row
        pieces = list(found)
        rows = [row for piece in pieces for row in piece.rows]
        desk.tell(sql.table_lines(desk.page, pieces[0].columns if pieces else (), rows))
        count, cut = len(rows), any(piece.truncated for piece in pieces)
    if cut:
        desk.remark(f"cut after {count_text(count, 'row')}: raise --max-rows for more")
    return FOUND


def run_status(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell how the collector and its daemons are."""
    status = client.status()
    if options.json:
        desk.hand_over(status)
    else:
        desk.tell(render_status.status_lines(desk.page, safe(status), client.address))
    return FOUND if status.storage_error is None else NOT_FOUND


def run_doctor(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Check host, daemon and collector."""
    checks = check_host()
    of_daemon, canary = check_daemon(control_socket(desk.environment))
    of_collector, reached = check_collector(client, desk.host, canary)
    checks = [*checks, *of_daemon, *of_collector]
    well = all_well(checks)
    if options.json:
        desk.hand_over({"ok": well, "checks": checks})
    else:
        desk.tell(render_status.checklist_lines(desk.page, safe(tuple(checks))))
    if not reached:
        return UNREACHABLE
    return FOUND if well else NOT_FOUND


_LOOKING: Mapping[str, Run] = {
    "find": run_find,
    "log": run_log,
    "show": run_show,
    "inputs": run_inputs,
    "outputs": run_outputs,
    "lineage": run_lineage,
    "sql": run_sql,
    "status": run_status,
    "doctor": run_doctor,
}
# One family for each pair options_FAMILY.py, commands_FAMILY.py.
RUNS: Mapping[str, Run] = {**_LOOKING, **commands_requests.RUNS}
