"""Where a command works: streams, page, environment; and the exit statuses that it returns."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeAlias

from whence.model import document
from whence.page import Page

if TYPE_CHECKING:
    from whence.client import Client

FOUND, NOT_FOUND, UNREACHABLE = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command works: streams, page, environment, and the name of this host."""

    out: TextIO
    err: TextIO
    stdin: TextIO
    page: Page
    environment: Mapping[str, str]
    host: str

    def tell(self, lines: Sequence[str]) -> None:
        """Write lines for people to standard output."""
        self.out.writelines(f"{line}\n" for line in lines)

    def hand_over(self, value: object) -> None:
        """Write one JSON document to standard output."""
        self.out.write(json.dumps(document(value), indent=2) + "\n")

    def remark(self, text: str) -> None:
        """Write a remark to standard error."""
        self.err.write(f"whence: {text}\n")


Run: TypeAlias = "Callable[[argparse.Namespace, Desk, Client], int]"
