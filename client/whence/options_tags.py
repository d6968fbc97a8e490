"""Options of the family of tags. Loads nothing that takes time."""

from __future__ import annotations

import argparse

from whence.command import Command, add_limit


def _tag_options(parser: argparse.ArgumentParser) -> None:
    text = "a run, file, folder or digest, then KEY or KEY=VALUE; without any, what is tagged"
    parser.add_argument("words", nargs="*", metavar="[WHAT] KEY[=VALUE]", help=text)
    parser.add_argument("--remove", action="store_true", help="take the keys away")
    text = "what is made from it has the tag too (license, pii and test-set always have)"
    parser.add_argument("--inherit", action="store_true", help=text)
    parser.add_argument("--history", action="store_true", help="every statement ever made")
    text = "tag this process of this host and its run, instead of the calling shell's"
    parser.add_argument("--pid", type=int, metavar="PID", help=text)
    add_limit(parser, "tags listed at most (default 1,000)")


COMMANDS = (
    Command(
        "tag",
        "say something about a run, file, folder or process",
        (
            "whence tag 4f0c9a1e project=tickets",
            "whence tag data/test.jsonl test-set",
            'whence tag note="third try, lower rate"',
            "whence tag model.pt",
        ),
        _tag_options,
    ),
)
