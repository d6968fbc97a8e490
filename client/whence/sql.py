"""The result of a statement → an array of row objects, or a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from whence.page import Cell, Column, Page, columns
from whence.text import clean

if TYPE_CHECKING:
    from whence.client import Rows


def unique_columns(names: Sequence[str]) -> list[str]:
    """Return the names with a number behind repeated ones: an object has each key once."""
    taken: set[str] = set()
    result = []
    for name in names:
        free, number = name, 2
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        taken.add(free)
        result.append(free)
    return result


def write_objects(out: TextIO, pieces: Iterable[Rows]) -> tuple[int, bool]:
    """Write one JSON array, an object a line, as the pieces arrive: none is held.

    Returns how many rows there were, and whether the collector cut them. What the pieces raise
    before the first row leaves nothing written; after it, an array without its end.
    """
    keys: list[str] = []
    count, cut = 0, False
    for piece in pieces:
        keys = keys or unique_columns(piece.columns)
        for row in piece.rows:
            out.write("[\n" if count == 0 else ",\n")
            out.write(json.dumps(dict(zip(keys, row, strict=True))))
            count += 1
        cut = cut or piece.truncated
    out.write("\n]\n" if count else "[]\n")
    return count, cut


def table_lines(page: Page, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Return a table; numbers stand to the right, an absent value is empty."""
    numeric = [_is_numeric(rows, number) for number in range(len(names))]
    kinds = [
        Column(clean(name), right=right, shrink=not right)
        for name, right in zip(names, numeric, strict=True)
    ]
    return columns(page, kinds, [[Cell(_cell_text(value)) for value in row] for row in rows])


def _is_numeric(rows: Sequence[tuple[object, ...]], number: int) -> bool:
    values = [row[number] for row in rows if row[number] is not None]
    return bool(values) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
