"""The price book in the database, kept level with the price file; history is never rewritten.

A row that the file no longer has is superseded, not changed: what was believed when stays readable.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from whence_collector.errors import InvalidPrices
from whence_collector.price_file import read_prices
from whence_collector.prices import Commitment, Price, PriceBook
from whence_collector.store import Reader, Writer

LOG = logging.getLogger("whence.prices")

PRICE_COLUMNS = (
    "gpu_model, host_glob, term, nano_usd_per_gpu_hour, valid_from_ns, valid_until_ns, "
    "list_nano_usd_per_gpu_hour, commitment"
)
COMMITMENT_COLUMNS = (
    "commitment, gpu_model, host_glob, gpu_count, from_ns, until_ns, total_micro_usd"
)


class PriceBookFile:
    """The price file and what stands of it in the database."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.book = PriceBook()
        self.ids: dict[Price, int] = {}
        self.error: str | None = None  # what is wrong with the file; the book before it is in force
        self._stamp: tuple[int, int, int] | None = None
        self._loaded = False

    def refresh(self, writer: Writer, now_ns: int) -> bool:
        """Read the file again if it changed; True when other prices are in force than before."""
        changed = self._load(writer) if not self._loaded else False
        stamp = self._stat()
        if stamp is None or stamp == self._stamp:
            return changed
        try:
            book = read_prices(self.file)
        except InvalidPrices as error:
            self._stamp = stamp
            self.error = str(error)
            LOG.warning("prices not taken in, the ones before stay in force: %s", error)
            return changed
        self._store(book, writer, now_ns)
        self._load(writer)
        LOG.info(
            "prices taken in from %s: %d prices, %d commitments",
            self.file, len(book.prices) - len(book.commitments), len(book.commitments),
        )  # fmt: skip
        self._stamp, self.error = stamp, None
        return True

    def has_changed(self) -> bool:
        """Whether the file is another than the one that was read last."""
        stamp = self._stat()
        return stamp is not None and stamp != self._stamp

    def forget(self) -> None:
        """Read file and database again next time: a transaction failed."""
        self._stamp, self._loaded = None, False

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            return None  # no file: what the database has stays in force
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self, reader: Reader) -> bool:
        self.book, self.ids = load_book(reader)
        self._loaded = True
        return bool(self.book.prices)

    def _store(self, book: PriceBook, writer: Writer, now_ns: int) -> None:
        wanted = {_without_line(price) for price in book.prices}
        known = set(self.ids)
        for price in known - wanted:
            writer.execute(
                "UPDATE price_book SET superseded_ns = ? WHERE price_id = ?",
                (now_ns, self.ids[price]),
            )
        found = writer.rows("SELECT coalesce(max(price_id), 0) FROM price_book")
        first = int(found[0][0]) + 1
        new = sorted(wanted - known, key=lambda price: (price.from_ns, price.gpu_model, price.host))
        writer.append("price_book", _price_columns(new, first, now_ns))
        self._store_commitments(book, writer, now_ns)

    def _store_commitments(self, book: PriceBook, writer: Writer, now_ns: int) -> None:
        wanted = {replace(each, line=0) for each in book.commitments}
        known = set(self.book.commitments)
        for each in known - wanted:
            writer.execute(
                "UPDATE price_commitment SET superseded_ns = ? "
                "WHERE commitment = ? AND superseded_ns IS NULL",
                (now_ns, each.commitment_id),
            )
        for each in sorted(wanted - known, key=lambda each: each.commitment_id):
            writer.execute(
                "INSERT INTO price_commitment VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    each.commitment_id, each.gpu_model, each.host, each.gpu_count, each.from_ns,
                    each.until_ns, each.total_micro_usd, now_ns,
                ),
            )  # fmt: skip


def load_book(reader: Reader) -> tuple[PriceBook, dict[Price, int]]:
    """Return the prices in force and their ids."""
    rows = reader.rows(
        f"SELECT {PRICE_COLUMNS}, price_id FROM price_book "  # noqa: S608 -- our own columns
        "WHERE superseded_ns IS NULL ORDER BY price_id"
    )
    ids = {Price(*row[:-1]): int(row[-1]) for row in rows}
    committed = reader.rows(
        f"SELECT {COMMITMENT_COLUMNS} FROM price_commitment "  # noqa: S608 -- our own columns
        "WHERE superseded_ns IS NULL ORDER BY commitment"
    )
    return PriceBook(tuple(ids), tuple(Commitment(*row) for row in committed)), ids


def _without_line(price: Price) -> Price:
    """A price is what it says, wherever it stands in the file."""
    return replace(price, line=0)


def _price_columns(prices: list[Price], first_id: int, now_ns: int) -> dict[str, list[Any]]:
    return {
        "price_id": list(range(first_id, first_id + len(prices))),
        "gpu_model": [price.gpu_model for price in prices],
        "host_glob": [price.host for price in prices],
        "term": [price.term for price in prices],
        "nano_usd_per_gpu_hour": [price.nano_usd_per_gpu_hour for price in prices],
        "list_nano_usd_per_gpu_hour": [price.list_nano_usd_per_gpu_hour for price in prices],
        "commitment": [price.commitment for price in prices],
        "valid_from_ns": [price.from_ns for price in prices],
        "valid_until_ns": [price.until_ns for price in prices],
        "recorded_ns": [now_ns] * len(prices),
    }
