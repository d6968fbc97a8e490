"""The tables of requests beside what follows from the records: an edit of either is found.

The chain proves itself (audit_chain.py); tables are written from it in the same transaction, so a
row that says something else was changed by somebody who had the file. Reads only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from whence_collector import request_rows as rows
from whence_collector.audit_chain import Head, Record, verify
from whence_collector.request_book import Book
from whence_collector.request_ledger import records_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whence_collector.store import Reader

TOLD = 20
WORDS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class TableCheck:
    """What comparing found: sentences, rows that were compared, the head on the disk."""

    faults: tuple[str, ...]
    rows: int
    head: Head


def check_tables(reader: Reader) -> TableCheck:
    """Compare every table of requests with a book that is read afresh from the records."""
    records = list(records_after(reader, 0))
    verdict = verify(records)
    if verdict.fault:
        return TableCheck((f"the chain is broken: {verdict.fault}",), 0, verdict.head)
    book = Book()
    for record in records:
        book.apply(record)
    faults, compared = [], 0
    for table, expected in _expected(book, records).items():
        found = _rows(reader, table, list(expected))
        wanted = Counter(zip(*map(_plain_all, expected.values()), strict=True))
        compared += sum(found.values())
        faults += _differences(table, list(expected), wanted, found)
    more = [f"and {len(faults) - TOLD} more"] if len(faults) > TOLD else []
    return TableCheck((*faults[:TOLD], *more), compared, verdict.head)


def _expected(book: Book, records: Sequence[Record]) -> dict[str, Mapping[str, list[Any]]]:
    return {
        "training_request": rows.request_columns(list(book.requests.values())),
        "request_review": rows.decision_columns(records),
        "request_remark": rows.remark_columns(records),
        "request_run": rows.run_columns(records),
    }


def _rows(reader: Reader, table: str, columns: list[str]) -> Counter[tuple[Any, ...]]:
    found = reader.rows(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 -- our own names
    return Counter(tuple(map(_plain, row)) for row in found)


def _plain_all(values: Sequence[Any]) -> list[Any]:
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _differences(
    table: str,
    columns: list[str],
    wanted: Counter[tuple[Any, ...]],
    found: Counter[tuple[Any, ...]],
) -> list[str]:
    missing, foreign = list((wanted - found).elements()), list((found - wanted).elements())
    faults = []
    for row in foreign:
        twin = min(missing, key=partial(_apart, row), default=None)
        if twin is None or _apart(twin, row) > len(columns) // 2:
            faults.append(f"{table}: a row of {_name(row)} that no record tells of")
            continue
        missing.remove(twin)
        pairs = zip(columns, twin, row, strict=True)
        changed = [
            f"{c} is {_short(b)}, the records say {_short(a)}" for c, a, b in pairs if a != b
        ]
        told = "; ".join(changed) or "it is there twice"
        faults.append(f"{table}: the row of {_name(row)} was edited: {told}")
    faults += [f"{table}: a row of {_name(row)} is missing" for row in missing]
    return faults


def _apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def _name(row: tuple[Any, ...]) -> str:
    return _short(row[0])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= WORDS_SHOWN else f"{text[:WORDS_SHOWN]}…"
