"""Options of the commands about training requests. Loads nothing that takes time."""

from __future__ import annotations

import argparse

from whence.command import Command, Parser, add_limit

STATES = (
    "draft",
    "filed",
    "changes requested",
    "approved",
    "claimed",
    "running",
    "rejected",
    "done",
    "failed",
    "over budget",
    "expired",
    "cancelled",
    "superseded",
)
ACTS = {
    "file": "file a request, from flags, a file, standard input or $EDITOR",
    "check": "check a request field by field and file nothing",
    "list": "list requests, newest first",
    "show": "one request with its decisions, comments, runs and timeline",
    "edit": "write a new revision",
    "submit": "put a draft before its reviewers",
    "review": "read a request and decide, asking",
    "approve": "agree to the revision that stands now",
    "reject": "refuse it for good",
    "changes": "ask for changes",
    "withdraw": "take an own approval back",
    "comment": "say something",
    "claim": "take an approved request in hand",
    "release": "give a claim back",
    "cancel": "withdraw a request for good",
    "link": "say that a run answers a request",
    "watch": "follow what happens",
    "whoami": "who the collector takes you for",
    "people": "principals, their roles and the house rules",
}


def _request_options(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT", parser_class=Parser)
    for name, summary in ACTS.items():
        act = acts.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        _OPTIONS.get(name, _one)(act)
        # The same flags may stand behind the act; what stands before it is not undone.
        act.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        act.add_argument("--address", default=argparse.SUPPRESS, help="the collector, HOST:PORT")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="REQUEST", help="R-12 or 12")


def _none(_parser: argparse.ArgumentParser) -> None:
    """Take nothing."""


def _card(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field of a card."""
    parser.add_argument("--title", help="in one line")
    parser.add_argument("--rationale", "--why", help="why, and which decision it informs")
    parser.add_argument("--project")
    parser.add_argument(
        "--dataset", action="append", dest="datasets", metavar="NAME@DIGEST", help="repeatable"
    )
    parser.add_argument("--base-model", metavar="NAME@DIGEST")
    parser.add_argument("--repository", metavar="URL")
    parser.add_argument("--commit", metavar="HEX")
    parser.add_argument("--command", dest="job", help="the command that will run")
    parser.add_argument("--gpus", metavar="N")
    parser.add_argument("--gpu-model", metavar="NAME")
    parser.add_argument("--hours", metavar="H")
    parser.add_argument("--budget", metavar="USD", help="never to be exceeded, such as 984.00")
    parser.add_argument("--reviewer", action="append", dest="reviewers", metavar="NAME")
    parser.add_argument("--for", dest="on_behalf_of", metavar="NAME", help="on whose behalf")
    parser.add_argument("--expires", metavar="WHEN", help="7d, 12h, or an ISO date")
    parser.add_argument("--expect", dest="expected_outcome", metavar="TEXT")
    parser.add_argument("--stop-when", dest="stop_criteria", metavar="TEXT")
    parser.add_argument(
        "--enforce", metavar="PERCENT", nargs="?", const="100",
        help="end its runs at that share of the budget (100), after a checkpoint",
    )  # fmt: skip
    parser.add_argument("--checkpoint-signal", metavar="NAME", help="with --enforce: SIGUSR1")
    parser.add_argument("--grace", metavar="TIME", help="with --enforce: until SIGTERM, such as 5m")
    parser.add_argument("--supersedes", metavar="REQUEST", help="takes the place of another")


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE|-",
        help="YAML, or Markdown with a YAML head; - reads input",
    )
    _card(parser)
    parser.add_argument("--edit", action="store_true", help="open $EDITOR on it first")
    parser.add_argument("--draft", action="store_true", help="keep it as a draft")
    parser.add_argument("--key", default="", help="the same key again is the same filing")


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE|-")
    _card(parser)


def _edit(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--file", metavar="FILE|-", help="the whole card as it should be")
    _card(parser)


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mine", action="store_true", help="yours, your owner's, your agents'")
    parser.add_argument("--to-review", action="store_true", help="those that wait for you")
    parser.add_argument("--queued", action="store_true", help="approved and free to claim")
    parser.add_argument("--state", action="append", choices=STATES, dest="states", default=[])
    parser.add_argument("--project", default="")
    add_limit(parser, "requests at most (default 50)")


def _verdict(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--reason", "-m", default="")
    parser.add_argument("--digest", default="", help="of the revision that you read")


def _approve(parser: argparse.ArgumentParser) -> None:
    _verdict(parser)
    parser.add_argument("--sign", metavar="KEY", help="sign with this SSH key")


def _comment(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("text", metavar="TEXT|-")


def _claim(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--host", help="where it will run (default: this host)")


def _reason(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--reason", "-m", default="")


def _link(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--reason", "-m", default="")


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", nargs="?", default="", metavar="REQUEST")
    parser.add_argument("--history", action="store_true", help="begin with what happened before")
    parser.add_argument("--until", choices=STATES, help="end when it stands so")


_OPTIONS = {
    "file": _file,
    "check": _check,
    "edit": _edit,
    "list": _list,
    "review": _approve,
    "approve": _approve,
    "reject": _verdict,
    "changes": _verdict,
    "withdraw": _verdict,
    "comment": _comment,
    "claim": _claim,
    "cancel": _reason,
    "link": _link,
    "watch": _watch,
    "whoami": _none,
    "people": _none,
}


def _why_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PATH|DIGEST|RUN")


def _note_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="PATH|DIGEST|RUN")
    parser.add_argument("text", metavar="TEXT|-", help="what was decided; - reads input")


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--request", required=True, metavar="REQUEST", help="claimed if need be")
    parser.add_argument("job", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")


def _audit_options(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT", parser_class=Parser)
    verify = acts.add_parser("verify", help="walk the chain and compare every digest")
    verify.add_argument("--head", metavar="N:SHA256", help="a head that was kept elsewhere")
    verify.add_argument("--signed", metavar="FILE", help="a head that was signed: see `audit head`")
    verify.add_argument("--signers", metavar="FILE", help="who may have: an allowed-signers file")
    verify.add_argument("--file", metavar="FILE", help="an exported chain, without a collector")
    export = acts.add_parser("export", help="print the chain, one JSON record a line")
    export.add_argument("--after", type=int, default=0, metavar="N")
    head = acts.add_parser("head", help="print the head, to keep or sign elsewhere")
    head.add_argument("--sign", metavar="KEY", help="sign it with this SSH key")
    for act in (verify, export, head):
        act.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        act.add_argument("--address", default=argparse.SUPPRESS, help="the collector, HOST:PORT")


def _mcp_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--http", metavar="HOST:PORT", help="streamable HTTP instead of stdio")


COMMANDS = (
    Command(
        "request",
        "training requests: file, review, approve, claim, follow",
        ("whence request file request.yaml", "whence request list --to-review"),
        _request_options,
    ),
    Command(
        "why",
        "who asked for it, why, who agreed: along the lineage",
        ("whence why model.pt",),
        _why_options,
    ),
    Command(
        "note",
        "add a decision note to a run or file",
        ('whence note model.pt "Kept: beats base_v4 on the June set"',),
        _note_options,
    ),
    Command(
        "run",
        "run a command for a request",
        ("whence run --request R-12 -- torchrun train.py",),
        _run_options,
    ),
    Command(
        "audit",
        "the chain of all changes: verify, export, head",
        ("whence audit verify",),
        _audit_options,
    ),
    Command(
        "mcp",
        "serve agents over the Model Context Protocol",
        ("whence mcp",),
        _mcp_options,
    ),
)
