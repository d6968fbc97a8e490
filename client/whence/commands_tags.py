"""`whence tag`: say something about a run, content or process, or list what was said."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from whence import ask_tags, local_tags, render_tags
from whence.ask_tags import Saying
from whence.client import Client
from whence.content import as_digest
from whence.desk import FOUND, Desk, Run
from whence.errors import MissingFileError, MisuseError
from whence.model_tags import Tags
from whence.naming import kind_of, missing, question_of
from whence.text import safe


def run_tag(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Say or list."""
    what, words = split_words(options.words)
    sayings = [_saying(word, options) for word in words]
    if not sayings:
        return _list(options, desk, client, what)
    if options.history:
        raise MisuseError("--history lists: leave out the keys, or leave out --history")
    if what is None:
        return _tag_process(options, desk, sayings)
    if options.pid is not None:
        raise MisuseError(f"--pid names what is tagged, and so does {what}: leave out one")
    tagged = ask_tags.add_tags(client, subject_of(what, desk), sayings, local_tags.whoami())
    if options.json:
        desk.hand_over(tagged)
    else:
        answer = safe(Tags(tags=tagged.tags, truncated=False))
        desk.tell(render_tags.tags_lines(desk.page, answer, safe(what)))
    return FOUND


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """Return what is tagged, None where nobody is named, and the words that say something.

    The first word names it when it is a path that exists, a digest, or digits of a run.
    """
    if not words:
        return None, []
    first = words[0]
    named = os.path.lexists(first) or first.startswith("tree:")
    if named or ("=" not in first and kind_of(first) != "path"):
        return first, words[1:]
    if "/" in first.partition("=")[0]:
        raise MissingFileError(missing(first))
    return None, words


def _saying(word: str, options: argparse.Namespace) -> Saying:
    key, equals, value = word.partition("=")
    if options.remove and equals:
        raise MisuseError(f"--remove takes a key away whatever its value is: write {key}")
    return Saying(
        key=key,
        value=value if equals else None,
        removed=options.remove,
        inherit=True if options.inherit else None,
    )


def subject_of(what: str, desk: Desk) -> str:
    """Return the run id, digest or tree that a word names, as the collector takes it."""
    kind = kind_of(what)
    if what.startswith("tree:"):
        return what
    if kind == "run or digest":
        return what
    if kind == "digest":
        return as_digest(what) or what
    question = question_of(what, desk)
    if question.digest is None:
        raise MissingFileError(missing(what))
    return question.digest


def _list(options: argparse.Namespace, desk: Desk, client: Client, what: str | None) -> int:
    if options.remove or options.inherit or options.pid is not None:
        raise MisuseError("nothing is said: give KEY or KEY=VALUE")
    subject = None if what is None else subject_of(what, desk)
    answer = ask_tags.list_tags(client, subject, history=options.history, limit=options.limit)
    if options.json:
        desk.hand_over(answer)
    else:
        desk.tell(render_tags.tags_lines(desk.page, safe(answer), safe(what)))
    return FOUND


def _tag_process(options: argparse.Namespace, desk: Desk, sayings: list[Saying]) -> int:
    target = "parent" if options.pid is None else str(options.pid)
    flags = ",".join(
        flag
        for flag, is_set in (("remove", options.remove), ("inherit", options.inherit))
        if is_set
    )
    pairs = [(saying.key, saying.value or "") for saying in sayings]
    command = local_tags.tag_process(pairs, target, flags)
    if options.json:
        keys = [saying.key for saying in sayings]
        desk.hand_over({"process": command, "keys": keys, "removed": options.remove})
    else:
        done = "no longer" if options.remove else "tagged"
        said = " ".join(f"{s.key}={s.value}" if s.value else s.key for s in sayings)
        desk.tell([desk.page.clip(safe(f"{command}  {done} {said}"))])
    return FOUND


RUNS: Mapping[str, Run] = {"tag": run_tag}
