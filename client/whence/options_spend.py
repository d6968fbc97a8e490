"""Options of the commands about GPU time and money. Loads nothing that takes time."""

from __future__ import annotations

import argparse

from whence.command import Command, add_limit

DIMENSIONS = ("user", "project", "run", "model", "request", "agent", "host", "day", "outcome")
FOCUS_VERSIONS = ("1.2", "1.3")


def _spend_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=DIMENSIONS, default="user", help="default: user")
    parser.add_argument("--since", metavar="WHEN", help="30m, 2h, 3d, 1w ago, or an ISO time")
    parser.add_argument("--until", metavar="WHEN", help="the same; default: now")
    parser.add_argument("--user", help="only of this user (name or uid)")
    parser.add_argument("--project", help="only of this project")
    parser.add_argument("--host", help="only on this host")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--waste", action="store_true", help="held time by what became of it")
    kinds.add_argument("--commitments", action="store_true", help="paid, used and unused")
    kinds.add_argument("--chart", action="store_true", help="bars instead of columns")
    kinds.add_argument("--csv", action="store_true", help="comma-separated values")
    text = "charges for a finance tool, as CSV of this version of FOCUS"
    kinds.add_argument("--focus", choices=FOCUS_VERSIONS, help=text)
    parser.add_argument("--account", metavar="NAME", help="billing account in --focus")
    add_limit(parser, "rows at most (default all)")


def _top_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="only this host")
    parser.add_argument("--once", action="store_true", help="print once and end")
    text = "seconds between two looks (default 2)"
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help=text)


COMMANDS = (
    Command(
        "spend",
        "where GPU time and money went, and what was wasted",
        ("whence spend --by project --since 30d", "whence spend --waste --since 1w"),
        _spend_options,
    ),
    Command(
        "top",
        "GPUs, who holds them and what they burn, now",
        ("whence top", "whence top --once --json"),
        _top_options,
    ),
)
