"""What a user names → what the collector is asked: paths, digests, prefixes, runs."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from whence.client import Client
from whence.content import as_digest, hash_file, real_path
from whence.desk import Desk
from whence.errors import MissingFileError, NotFoundError
from whence.model import Found, RunDetail, order_productions
from whence.options import COMMANDS
from whence.progress import hashing_bar
from whence.render import Question
from whence.text import safe

WAIT_S = 10.0  # for a digest that is being computed
_ASK_AGAIN_S = 0.2
_JUST_WRITTEN_S = 3.0  # the daemon delivers within two seconds of a process's end
_RUN_DIGITS = re.compile(r"[0-9a-f]{4,16}")
_NOTHING = Found(artifact=None, productions=(), consumers=(), path_versions=(), candidates=())


def kind_of(text: str) -> Literal["path", "digest", "run or digest"]:
    """Return what a text names: a path that exists wins over a digest, that over a new path."""
    if os.path.lexists(text):
        return "path"
    if _RUN_DIGITS.fullmatch(text):
        return "run or digest"
    return "path" if as_digest(text) is None else "digest"


def question_of(text: str, desk: Desk) -> Question:
    """Return what to ask for a text: its digest, or the digest of the file that it names.

    Raises UnreadableFileError, and MisuseError for an empty text; a file that is not there is
    asked for by its path alone.
    """
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


def find(client: Client, question: Question, wait_s: float = WAIT_S) -> Found:
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


def missing(text: str) -> str:
    """Return one sentence about a path that does not exist."""
    if os.path.lexists(text):
        return f"{text} links to {os.path.realpath(text)}, which does not exist"
    meant = get_close_matches(text, COMMANDS, 1)
    return f"{text} does not exist" + (f" (did you mean `whence {meant[0]}`?)" if meant else "")


def start_of(text: str, desk: Desk, client: Client) -> tuple[str, str | None]:
    """Return a digest or run id to start from, and the path where one was asked for."""
    if kind_of(text) == "run or digest":
        return text, None
    question = question_of(text, desk)
    if question.digest is not None:
        return question.digest, question.path
    seen = [v.digest for v in find(client, question).path_versions if v.digest is not None]
    if not seen:
        raise MissingFileError(f"{missing(text)}; nothing is known of that path either")
    return seen[0], question.path


def run_by_id(text: str, client: Client, all_classes: bool, limit: int = 0) -> RunDetail | None:
    """Return the run of an id; None where the text must be a path or digest instead."""
    if kind_of(text) != "run or digest":
        return None
    try:
        return client.get_run(text, limit, all_classes)
    except NotFoundError:
        if as_digest(text) is None:
            raise
        return None
