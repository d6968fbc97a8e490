"""How a table of the wire is described, so that check.py can hold a batch against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["any", "count", "time", "text", "process", "file", "enum", "bytes"]


@dataclass(frozen=True, slots=True)
class Column:
    """What one column may hold; known means that 0 (not known) is refused."""

    name: str
    kind: Kind = "any"
    known: bool = False
    highest: int = 0  # of an enum
    late: bool = False  # came later than its table: a daemon of before leaves it out


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of one table of the wire, and its list column if it has one.

    as_arrays: its numbers are handed on as arrays, for it has as many rows as the work has touches.
    """

    name: str
    columns: tuple[Column, ...]
    list_count: str = ""
    list_text: str = ""
    as_arrays: bool = False
    list_of: Literal["text", "process"] = "text"
