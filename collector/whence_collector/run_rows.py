"""Runs as rows of the table ``run``, and back. Pure."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from whence_collector.resolved import ProcessRow
from whence_collector.run_state import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RUN_COLUMNS = tuple(each.name for each in fields(RunRecord))
PROCESS_COLUMNS = tuple(each.name for each in fields(ProcessRow))
_LISTS = frozenset({"argv", "git_modified"})


def run_columns(records: Iterable[RunRecord]) -> dict[str, list[Any]]:
    """Return runs as columns."""
    rows = list(records)
    return {name: list(map(attrgetter(name), rows)) for name in RUN_COLUMNS}


def run_of_row(row: Sequence[Any]) -> RunRecord:
    """Return a run from a row whose columns are RUN_COLUMNS in order."""
    return RunRecord(**_named(RUN_COLUMNS, row))


def process_of_row(row: Sequence[Any]) -> ProcessRow:
    """Return a program from a row whose columns are PROCESS_COLUMNS in order."""
    return ProcessRow(**_named(PROCESS_COLUMNS, row))


def _named(names: tuple[str, ...], row: Sequence[Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if name in _LISTS and value is not None else value
        for name, value in zip(names, row, strict=True)
    }
