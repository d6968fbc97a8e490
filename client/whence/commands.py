"""What each command does: ask the collector, set the answer, return the exit status.

Parses no options and catches only what it can answer itself; `cli` does the rest.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Literal

from whence import (
    commands_ancestry,
    commands_reproduce,
    commands_requests,
    commands_spend,
    commands_tags,
    render,
    render_run,
    render_status,
    render_tree,
    sql,
)
from whence.ancestry_cost import ancestry_cost, cost_lines
from whence.client import Client
from whence.desk import FOUND, NOT_FOUND, UNREACHABLE, Desk, Run
from whence.doctor import all_well, check_collector, check_daemon, check_host, control_socket
from whence.errors import MissingFileError, MisuseError, NotFoundError
from whence.model import Found, RunDetail, document
from whence.naming import WAIT_S, find, kind_of, missing, question_of, run_by_id, start_of
from whence.render import Question
from whence.spend_client import message_document
from whence.text import count_text, safe, short_digest, since_unix_ns

# whence PATH|DIGEST -------------------------------------------------------------------------


def run_find(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell how a file or content was made; for a folder, what is known of its tree."""
    if os.path.isdir(options.what):  # noqa: PTH112 -- a name as it was typed
        return commands_ancestry.run_tree(options, desk, client)
    question = question_of(options.what, desk)
    found = find(client, question, getattr(options, "wait", WAIT_S))
    if question.path is not None and question.digest is None and not found.path_versions:
        nothing = f"{missing(options.what)}; nothing is known of that path either"
        raise MissingFileError("; ".join([nothing, *found.caveats]))
    cost = ancestry_cost(client, found)
    if options.json:
        told = {"ancestry_cost": None if cost is None else message_document(cost)}
        desk.hand_over(_find_document(question, found) | told)
    else:
        desk.tell(render.found_lines(desk.page, safe(question), safe(found)))
        desk.tell(cost_lines(desk.page, cost))
        _hint(options.what, found, desk)
    return NOT_FOUND if found.artifact is None else FOUND


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
    """Tell everything of one run or request; for a digest or path do as `whence PATH` does."""
    if commands_requests.names_request(options.what):
        return commands_requests.show(options.what, options, desk, client)
    detail = run_by_id(options.what, client, all_classes=False)
    if detail is None:
        return run_find(options, desk, client)
    if options.json:
        desk.hand_over(detail)
    else:
        desk.tell(render_run.run_detail_lines(desk.page, safe(detail)))
        if detail.run.request_id is not None:
            desk.tell(commands_requests.beside_request(detail.run, desk, client))
    return FOUND


def run_inputs(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List what a run read, or the data at the root of it all."""
    if options.roots or options.sourced is not None:
        return commands_ancestry.run_roots(options, desk, client)
    detail = _run_of(options, desk, client)
    return _side(options, desk, detail, "inputs")


def run_outputs(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List what a run wrote."""
    detail = _run_of(options, desk, client)
    return _side(options, desk, detail, "outputs")


def _run_of(options: argparse.Namespace, desk: Desk, client: Client) -> RunDetail:
    """Return the run of an id, or the run that made a file."""
    everything, limit = getattr(options, "all", False), options.limit
    detail = run_by_id(options.what, client, everything, limit)
    if detail is not None:
        return detail
    found = find(client, question_of(options.what, desk))
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
    start, path = start_of(options.what, desk, client)
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
RUNS: Mapping[str, Run] = {
    **_LOOKING,
    **commands_requests.RUNS,
    **commands_tags.RUNS,
    **commands_spend.RUNS,
    **commands_ancestry.RUNS,
    **commands_reproduce.RUNS,
}
