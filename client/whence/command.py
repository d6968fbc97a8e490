"""What a command is made of: its parser, and the kinds of options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and the remedy."""
        self.exit(2, f"whence: {message}: see `{self.prog} --help`\n")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its one-line summary, what its help shows as example, and its options."""

    name: str
    summary: str
    examples: tuple[str, ...]
    add_options: Callable[[argparse.ArgumentParser], None]


def no_options(_parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def add_limit(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --limit N; ``text`` says of what, and what is taken without it."""
    parser.add_argument("--limit", type=count, default=0, metavar="N", help=text)


def count(text: str) -> int:
    """Return a number from 1 to 2^32 - 1; raises ArgumentTypeError for anything else."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 < number < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count above 0")
    return number
