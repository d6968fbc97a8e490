"""The result of a statement → an array of row objects, or a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TextIO

from whence.page import Cell, Column, Page, columns
from whence.text import clean


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


def write_objects(out: TextIO, names: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    """Write one JSON array, an object a line, as the rows arrive."""
    keys = unique_columns(names)
    joint = "[\n"
    for row in rows:
        out.write(joint + json.dumps(dict(zip(keys, row, strict=True))))
        joint = ",\n"
    out.write("\n]\n" if joint == ",\n" else "[]\n")


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
