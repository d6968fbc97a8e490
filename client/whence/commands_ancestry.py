"""Commands about what lies behind runs and contents: diff, who, touched, duplicates, trees."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping

from whence import ask_ancestry, render_ancestry, render_tree_set
from whence.client import Client
from whence.commands_tags import subject_of
from whence.content import as_digest, real_path
from whence.desk import FOUND, NOT_FOUND, Desk, Run
from whence.errors import MissingFileError, NotFoundError
from whence.folder import members_of, tree_of
from whence.model_ancestry import FoundTrees
from whence.naming import kind_of, missing, question_of
from whence.progress import hashing_bar
from whence.text import safe

UNKNOWN = 5  # of `whence touched`: neither yes nor no can be said
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}(=.*)?")
_VERDICTS = {"yes": FOUND, "no": NOT_FOUND, "unknown": UNKNOWN}


def run_tree(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell what is known of a folder as a dataset or checkpoint (`whence FOLDER`)."""
    with hashing_bar(safe(options.what), desk.err) as progress:
        members = members_of(options.what, progress)
    digest, buckets = tree_of(members)
    try:
        found = ask_ancestry.find_tree(client, digest, real_path(options.what), desk.host, buckets)
    except NotFoundError:
        found = FoundTrees(matches=())
    known = any(match.tree.digest == digest for match in found.matches)
    if options.json:
        head = {"found": known, "path": real_path(options.what), "digest": digest}
        desk.hand_over({**head, "members": len(members), "matches": found.matches})
    else:
        size_bytes = sum(member.size_bytes for member in members)
        page, name = desk.page, safe(options.what)
        desk.tell(
            render_tree_set.tree_lines(page, name, digest, (len(members), size_bytes), safe(found))
        )
    return FOUND if known else NOT_FOUND


def run_diff(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell what differs."""
    a, b = (subject_of(what, desk) for what in (options.a, options.b))
    answer = ask_ancestry.compare(client, a, b)
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_ancestry.diff_lines(desk.page, safe(answer), everything=options.all))
    return FOUND


def run_who(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell who is behind it."""
    answer = ask_ancestry.who(client, subject_of(options.what, desk))
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_ancestry.who_lines(desk.page, safe(answer)))
    return FOUND if answer.people else NOT_FOUND


def run_touched(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell whether the ancestry read it: 0 yes, 1 no, 5 unknown."""
    subject = subject_of(options.what, desk)
    by: str = options.by
    if os.path.isdir(by):  # noqa: PTH112 -- a name as it was typed
        digests = [f"blake3:{member.blake3.hex()}" for member in members_of(by)]
        answer = ask_ancestry.touched(client, subject, digests=digests)
    elif by.startswith("tree:"):
        answer = ask_ancestry.touched(client, subject, tree=by)
    elif os.path.lexists(by):
        digest = question_of(by, desk).digest
        answer = ask_ancestry.touched(client, subject, digests=[digest] if digest else [])
    elif (digest := as_digest(by)) is not None and len(digest) == len("blake3:") + 64:
        answer = ask_ancestry.touched(client, subject, digests=[digest])
    elif _LABEL.fullmatch(by):
        answer = ask_ancestry.touched(client, subject, label=by)
    else:
        raise MissingFileError(missing(by))
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_ancestry.touched_lines(desk.page, safe(answer), safe(by)))
    return _VERDICTS[answer.verdict]


def run_duplicates(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List runs that repeat earlier ones."""
    if options.what is not None and kind_of(options.what) != "run or digest":
        raise NotFoundError(f"{options.what} is no run: `whence log` lists them")
    answer = ask_ancestry.duplicates(
        client, options.what, running=options.running, limit=options.limit
    )
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_ancestry.duplicates_lines(desk.page, safe(answer)))
    return FOUND


def run_roots(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """List the data behind something that no observed run made (`whence inputs --roots`)."""
    answer = ask_ancestry.root_inputs(
        client, subject_of(options.what, desk), options.limit, sourced=options.sourced
    )
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_ancestry.roots_lines(desk.page, safe(answer)))
    return FOUND


RUNS: Mapping[str, Run] = {
    "diff": run_diff,
    "who": run_who,
    "touched": run_touched,
    "duplicates": run_duplicates,
}
