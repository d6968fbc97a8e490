"""Options of the commands about what lies behind runs and contents. Loads nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from whence.command import Command, add_limit

_WHAT = "a file, a run, or a digest"


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PATH|DIGEST|RUN", help=_WHAT)


def _diff_options(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help=_WHAT)
    parser.add_argument("--all", action="store_true", help="also lesser differences")


def _reproduce_options(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--run", action="store_true", help="do it; without, only show the plan")
    text = "an empty folder to do it in (default: a new one in the temporary folder)"
    parser.add_argument("--into", type=Path, metavar="DIR", help=text)
    text = "seconds that one step may take (default: no limit)"
    parser.add_argument("--step-timeout", type=float, metavar="S", help=text)


def _touched_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="MODEL", help=_WHAT)
    text = "a file, a folder, a digest, a tree, or a tag: KEY or KEY=VALUE"
    parser.add_argument("--by", required=True, metavar="FILE|TREE|LABEL", help=text)


def _duplicates_options(parser: argparse.ArgumentParser) -> None:
    text = "only repeats of or by this run"
    parser.add_argument("what", nargs="?", metavar="RUN", help=text)
    parser.add_argument("--running", action="store_true", help="only those that run now")
    add_limit(parser, "repeats at most (default 50)")


COMMANDS = (
    Command(
        "diff",
        "what differs between two runs or files, likely causes first",
        ("whence diff model_a.pt model_b.pt",),
        _diff_options,
    ),
    Command("who", "people and agents behind a file or run", ("whence who model.pt",), _one),
    Command(
        "touched",
        "whether anything behind a model read a file, folder or label",
        ("whence touched model.pt --by data/test.jsonl", "whence touched model.pt --by test-set"),
        _touched_options,
    ),
    Command(
        "duplicates",
        "runs that repeat earlier ones, with what those cost and made",
        ("whence duplicates --running",),
        _duplicates_options,
    ),
    Command(
        "recipe",
        "how to make a file again: a document that runs in a shell",
        ("whence recipe model.pt",),
        _one,
    ),
    Command(
        "reproduce",
        "make a file again in an empty folder and compare digests",
        ("whence reproduce model.pt --run --into /tmp/again",),
        _reproduce_options,
    ),
)
