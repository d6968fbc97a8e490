"""The commands and their options, as data and parsers. Loads nothing that takes time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from whence.command import Command, Parser, add_limit, count, no_options
from whence.options_ancestry import COMMANDS as _ANCESTRY
from whence.options_requests import COMMANDS as _REQUESTS
from whence.options_spend import COMMANDS as _SPEND
from whence.options_tags import COMMANDS as _TAGS

OVERVIEW = """\
usage: whence PATH|DIGEST [--json]
       whence COMMAND [...] [--json]

Ask any file how it was made: by which run, command and code, from which inputs
back to the raw data. The content is looked up, so a copied, moved or renamed
file is known too.

  PATH|DIGEST  a file, or "blake3:..." or 6 or more of its digits (a file named
               like a command is reached as ./log)

commands:
{commands}

options, for every command:
  --json             one JSON document on standard output
  --address ADDRESS  the collector, HOST:PORT (default: WHENCE_ADDRESS, else
                     127.0.0.1:7420)
  --version          print the version and exit
  -h, --help         this text, or that of a command

example:
  whence model.pt

exit status: 0 found, 1 not found, 2 usage, 3 collector unreachable, 4 refused
"""


def _find_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PATH|DIGEST")
    text = "seconds to wait for content that is being hashed (default 10)"
    parser.add_argument("--wait", type=float, default=10.0, metavar="S", help=text)


def _log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", help="only runs of this user (name or uid)")
    parser.add_argument("--project", help="only runs of this project")
    parser.add_argument("--since", metavar="WHEN", help="30m, 2h, 3d, 1w ago, or an ISO time")
    statuses = ("running", "succeeded", "failed", "killed", "unknown")
    parser.add_argument("--status", choices=statuses, help="only runs that ended so")
    parser.add_argument("--gpu", action="store_true", help="only runs that used a GPU")
    parser.add_argument("--steps", action="store_true", help="also the steps of runs")
    parser.add_argument("--all", action="store_true", help="also runs that wrote no file")
    add_limit(parser, "runs at most (default 50)")


def _show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="RUN|DIGEST", help="4 or more digits of a run, or a digest")


def _inputs_options(parser: argparse.ArgumentParser) -> None:
    _outputs_options(parser)
    text = "the data all the way up that no observed run made, with where it comes from"
    parser.add_argument("--roots", action="store_true", help=text)
    one_of = parser.add_mutually_exclusive_group()
    text = "only root data whose source is known"
    one_of.add_argument("--sourced", action="store_const", const=True, default=None, help=text)
    text = "only root data of which nobody knows where it comes from"
    one_of.add_argument("--unsourced", action="store_const", const=False, dest="sourced", help=text)
    parser.add_argument("--all", action="store_true", help="also libraries and caches")


def _outputs_options(parser: argparse.ArgumentParser) -> None:
    text = "a run, or a file: then the run that made it"
    parser.add_argument("what", metavar="RUN|PATH|DIGEST", help=text)
    add_limit(parser, "files at most (default 1,000)")


def _lineage_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PATH|DIGEST|RUN", help="where to start")
    parser.add_argument("--down", action="store_true", help="what was made from it instead")
    parser.add_argument("--depth", type=count, default=0, help="levels of runs (default all)")
    parser.add_argument("--all", action="store_true", help="also libraries and caches")
    formats = ("tree", "json", "dot", "mermaid")
    parser.add_argument("--format", choices=formats, default="tree", help="default: tree")
    add_limit(parser, "nodes at most (default 5,000)")


def _sql_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="QUERY|-", help="one SELECT; - reads standard input")
    text = "rows at most (default 10,000)"
    parser.add_argument("--max-rows", type=count, default=0, metavar="N", help=text)


_LOOKING = (
    Command(
        "log",
        "list runs, newest first",
        ("whence log --since 2h --status failed",),
        _log_options,
    ),
    Command(
        "show",
        "one run with its inputs, outputs, steps and processes",
        ("whence show 4f0c9a1e",),
        _show_options,
    ),
    Command(
        "inputs",
        "what a run read, or the run that made a file",
        ("whence inputs model.pt",),
        _inputs_options,
    ),
    Command(
        "outputs",
        "what a run wrote, or the run that made a file",
        ("whence outputs 4f0c9a1e",),
        _outputs_options,
    ),
    Command(
        "lineage",
        "the tree of what a file or run came from (--down: what came from it)",
        ("whence lineage model.pt", "whence lineage raw.csv --down --format dot"),
        _lineage_options,
    ),
    Command(
        "sql",
        "one read-only SELECT over the views",
        ("whence sql \"SELECT run_id, command FROM runs WHERE status = 'failed'\" --json",),
        _sql_options,
    ),
    Command(
        "status",
        "how the collector and its daemons are",
        ("whence status",),
        no_options,
    ),
    Command(
        "doctor",
        "check host, daemon and collector, with a remedy for whatever is wrong",
        ("whence doctor",),
        no_options,
    ),
)
# One family of commands for each pair options_FAMILY.py, commands_FAMILY.py; help lists them so.
COMMANDS: dict[str, Command] = {
    command.name: command for command in (*_LOOKING, *_REQUESTS, *_TAGS, *_SPEND, *_ANCESTRY)
}
_FIND = Command("find", "how a file was made", ("whence model.pt",), _find_options)
# Options that take a value may stand before the command; their value is not the command.
_VALUED = frozenset(("--address",))


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and the words that are left; "find" where none is named, "" for none.

    The first word that is no option decides: the name of a command, else a path or digest.
    """
    number = 0
    while number < len(words):
        word = words[number]
        if word == "--":
            return "find", list(words)
        if word.startswith("-") and word != "-":
            number += 2 if word in _VALUED else 1
            continue
        if word in COMMANDS:
            return word, [*words[:number], *words[number + 1 :]]
        return "find", list(words)
    return "", list(words)


def parser_for(name: str) -> Parser:
    """Return the parser of a command, or of `whence PATH|DIGEST` for "find"."""
    command = COMMANDS.get(name, _FIND)
    examples = "\n".join(f"  {line}" for line in command.examples)
    parser = Parser(
        prog="whence" if command is _FIND else f"whence {name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"example:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    text = "the collector, HOST:PORT (default: WHENCE_ADDRESS)"
    parser.add_argument("--address", help=text)
    return parser


def overview() -> str:
    """Return the help of `whence` itself."""
    lines = [f"  {command.name:8} {command.summary}" for command in COMMANDS.values()]
    return OVERVIEW.format(commands="\n".join(lines))


def parse(words: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """Return the command and its options. Exits with 0 after help, with 2 for misuse."""
    name, rest = split_command(words)
    if "--version" in rest and name in ("", "find"):
        from whence._version import __version__  # noqa: PLC0415  kept beside its only use

        sys.stdout.write(f"whence {__version__}\n")
        raise SystemExit(0)
    if name in ("", "find") and {"-h", "--help"} & set(rest):
        sys.stdout.write(overview())
        raise SystemExit(0)
    if not name:
        sys.stderr.write(overview())
        raise SystemExit(2)
    return name, parser_for(name).parse_args(rest)
