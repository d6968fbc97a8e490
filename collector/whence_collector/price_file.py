"""The commented price file (TOML) to a PriceBook; every mistake is told with its line and remedy.

Pure but for reading the one file. Numbers are read as exact decimals, never as floats.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from whence_collector.errors import InvalidPrices
from whence_collector.prices import (
    FOREVER_NS,
    TERMS,
    Commitment,
    Price,
    PriceBook,
    overlapping,
)

NANO = Decimal(10) ** 9
MICRO = Decimal(10) ** 6
HIGHEST_USD = Decimal(10) ** 9
_HEADING = re.compile(r"\s*\[\[\s*(\w+)\s*\]\]")
_TABLES = ("price", "commitment")


def read_prices(file: Path) -> PriceBook:
    """Read the price file.

    Raises InvalidPrices with file, line and remedy for whatever is wrong with it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidPrices(
            f"{file} cannot be read ({error.strerror}); correct its permissions or remove it"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidPrices(f"{file} is not UTF-8; save it as UTF-8") from error
    return parse_prices(text, str(file))


def parse_prices(text: str, name: str = "prices.toml") -> PriceBook:
    """Turn the text of a price file into a book. Raises InvalidPrices."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, InvalidOperation) as error:
        raise InvalidPrices(f"{name} is not valid TOML: {error}") from error
    file = _File(name, text.splitlines())
    for key in document:
        if key not in _TABLES:
            raise InvalidPrices(
                f"{file.place_of(key)}: unknown table {key!r}, {_hint(key, _TABLES)}"
            )
    priced = file.rows(document, "price", _PRICE_KEYS)
    committed = file.rows(document, "commitment", _COMMITMENT_KEYS)
    commitments = tuple(_commitment(row) for row in committed)
    prices = (*(_price(row) for row in priced), *(each.price for each in commitments))
    if found := overlapping(prices):
        first, second = found
        raise InvalidPrices(
            f"{name} line {second.line}: this price overlaps the one of line {first.line} for "
            f"GPU {second.gpu_model!r}, host {second.host!r}, term {second.term}; end the earlier "
            "one with until, or remove one"
        )
    return PriceBook(prices, commitments)


@dataclass(frozen=True, slots=True)
class _Row:
    """One table of the file: checked values, and where it stands."""

    values: dict[str, Any]
    name: str
    line: int

    def period(self) -> tuple[int, int]:
        begin, end = self.values["from"], self.values.get("until", FOREVER_NS)
        if begin >= end:
            raise InvalidPrices(
                f"{self.name} line {self.line}: until is not after from; exchange the two"
            )
        return begin, end


class _File:
    """The text with the name that messages call it by."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self._name, self._lines = name, lines

    def rows(self, document: dict[str, Any], table: str, keys: dict[str, _Rule]) -> list[_Row]:
        found = document.get(table, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise InvalidPrices(
                f"{self.place_of(table)}: write each {table} as a table of its own, [[{table}]]"
            )
        lines = self._headings(table)
        # Tables written inline have no heading; their messages name the file's first line.
        lines += [1] * (len(found) - len(lines))
        return [self._row(each, keys, line) for each, line in zip(found, lines, strict=False)]

    def _row(self, table: dict[str, Any], keys: dict[str, _Rule], line: int) -> _Row:
        for key in table:
            if key not in keys:
                raise InvalidPrices(
                    f"{self._within(line, key)}: unknown key {key!r}, {_hint(key, tuple(keys))}"
                )
        values = {}
        for key, rule in keys.items():
            if key in table:
                values[key] = self._value(rule, table[key], line, key)
            elif rule.required:
                raise InvalidPrices(
                    f"{self._name} line {line}: {key} is missing; add {key} = {rule.example}"
                )
        return _Row(values, self._name, line)

    def _value(self, rule: _Rule, value: object, line: int, key: str) -> Any:
        try:
            return rule.read(value)
        except (TypeError, ValueError, InvalidOperation) as error:
            shown = value if isinstance(value, int | Decimal | date) else repr(value)
            raise InvalidPrices(
                f"{self._within(line, key)}: {key} = {shown} must be {rule.wanted}, "
                f"as in {key} = {rule.example}"
            ) from error

    def place_of(self, key: str) -> str:
        for number, line in enumerate(self._lines, start=1):
            if re.match(rf"\s*(\[\[?\s*)?[\"']?{re.escape(key)}[\"']?\s*[\]=.]", line):
                return f"{self._name} line {number}"
        return self._name

    def _within(self, heading: int, key: str) -> str:
        """Name the line of a key, looked for below its heading; tomllib keeps no lines."""
        for number, line in enumerate(self._lines[heading - 1 :], start=heading):
            if number > heading and _HEADING.match(line):
                break
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return f"{self._name} line {number}"
        return f"{self._name} line {heading}"

    def _headings(self, table: str) -> list[int]:
        return [
            number
            for number, line in enumerate(self._lines, start=1)
            if (match := _HEADING.match(line)) and match[1] == table
        ]


def _price(row: _Row) -> Price:
    begin, end = row.period()
    values = row.values
    listed = values.get("list_usd_per_gpu_hour")
    return Price(
        gpu_model=values["gpu_model"],
        host=values.get("host", "*"),
        term=values.get("term", "on-demand"),
        nano_usd_per_gpu_hour=values["usd_per_gpu_hour"],
        from_ns=begin,
        until_ns=end,
        list_nano_usd_per_gpu_hour=listed,
        line=row.line,
    )


def _commitment(row: _Row) -> Commitment:
    begin, end = row.period()
    values = row.values
    return Commitment(
        commitment_id=values["id"],
        gpu_model=values["gpu_model"],
        host=values.get("host", "*"),
        gpu_count=values["gpus"],
        from_ns=begin,
        until_ns=end,
        total_micro_usd=values["usd_total"],
        line=row.line,
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a value is read, and what a message says of it."""

    read: Callable[[object], Any]
    wanted: str
    example: str
    required: bool = False


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.strip():
        raise ValueError
    return value


def _term(value: object) -> str:
    text = _text(value)
    if text not in TERMS:
        raise ValueError
    return text


def _usd(scale: Decimal) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise TypeError
        scaled = Decimal(value) * scale
        if not scaled.is_finite() or not 0 <= Decimal(value) <= HIGHEST_USD:
            raise ValueError
        if scaled != scaled.to_integral_value():
            raise ValueError
        return int(scaled)

    return read


def _moment(value: object) -> int:
    """Unix ns of a TOML date or date-time; without a zone it is UTC."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    elif isinstance(value, date):
        moment = datetime.combine(value, time(), UTC)
    else:
        raise TypeError
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 1 <= value <= 1_000_000:
        raise ValueError
    return value


def _hint(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


_MOMENT = "a date or date-time (UTC unless it names a zone)"
_PRICE_USD = (_usd(NANO), "an amount of at least 0 with at most 9 decimal places")
_SHARED = {
    "gpu_model": _Rule(_text, "a name or pattern", '"NVIDIA H100*"', required=True),
    "host": _Rule(_text, "a name or pattern", '"gpu-*"'),
    "from": _Rule(_moment, _MOMENT, "2026-01-01", required=True),
}
_PRICE_KEYS = {
    **_SHARED,
    "until": _Rule(_moment, _MOMENT, "2027-01-01"),
    "term": _Rule(_term, f"one of {', '.join(TERMS)}", '"on-demand"'),
    "usd_per_gpu_hour": _Rule(*_PRICE_USD, "12.29", required=True),
    "list_usd_per_gpu_hour": _Rule(*_PRICE_USD, "14.00"),
}
_COMMITMENT_KEYS = {
    **_SHARED,
    "until": _Rule(_moment, _MOMENT, "2027-01-01", required=True),
    "id": _Rule(_text, "a name", '"reserved-2026"', required=True),
    "gpus": _Rule(_count, "a whole number of at least 1", "8", required=True),
    "usd_total": _Rule(
        _usd(MICRO),
        "an amount of at least 0 with at most 6 decimal places",
        "480000",
        required=True,
    ),
}
