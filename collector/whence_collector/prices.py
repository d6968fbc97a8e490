"""The price book: a commented file to exact prices, and which one holds for a GPU at a time.

Pure integers: a price is a whole number of billionths of a dollar for one GPU-hour, money is whole
micro-dollars. May not know holds, runs or the database; price_book.py keeps the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

TERMS = ("on-demand", "reserved", "spot", "owned")
NS_PER_HOUR = 3_600_000_000_000
NANO_PER_MICRO = 1_000
FOREVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Price:
    """What one GPU costs for an hour of calendar time; valid from from_ns until before until_ns."""

    gpu_model: str  # a pattern, as in a shell: "NVIDIA H100*"
    host: str  # a pattern: "gpu-*"
    term: str  # one of TERMS
    nano_usd_per_gpu_hour: int
    from_ns: int  # Unix time
    until_ns: int = FOREVER_NS
    list_nano_usd_per_gpu_hour: int | None = None
    commitment: str | None = None  # the commitment that pays for it
    line: int = 0  # of the file, for messages

    @property
    def micro_usd_per_gpu_second(self) -> tuple[int, int]:
        """Return the rate as an exact ratio: (numerator, denominator) of micro-dollars a second."""
        return self.nano_usd_per_gpu_hour, NANO_PER_MICRO * 3_600

    def micro_usd(self, from_ns: int, until_ns: int, share: tuple[int, int] = (1, 1)) -> int:
        """Return what the time costs, for a share (numerator, denominator) of a GPU."""
        return charge(self.nano_usd_per_gpu_hour, from_ns, until_ns, share)

    def matches(self, gpu_model: str, host: str, at_ns: int) -> bool:
        """Whether it holds for a GPU on a host at a time."""
        return (
            self.from_ns <= at_ns < self.until_ns
            and fnmatchcase(gpu_model.casefold(), self.gpu_model.casefold())
            and fnmatchcase(host, self.host)
        )

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Grow with precision: a host by name, a host by pattern, then the GPU likewise."""
        return (*_precision(self.host), *_precision(self.gpu_model))


@dataclass(frozen=True, slots=True)
class Commitment:
    """GPUs that are paid for whether used or not: total_micro_usd for the whole time."""

    commitment_id: str
    gpu_model: str
    host: str
    gpu_count: int
    from_ns: int
    until_ns: int
    total_micro_usd: int
    line: int = 0

    def paid_micro_usd(self, from_ns: int, until_ns: int) -> int:
        """Return the part of the total that a time bears; parts of a partition add up to it."""
        return self._until(until_ns) - self._until(from_ns)

    def _until(self, at_ns: int) -> int:
        elapsed = min(max(at_ns, self.from_ns), self.until_ns) - self.from_ns
        return self.total_micro_usd * elapsed // (self.until_ns - self.from_ns)

    @property
    def price(self) -> Price:
        """The price of one of its GPUs, rounded down to a billionth of a dollar an hour."""
        gpu_ns = self.gpu_count * (self.until_ns - self.from_ns)
        rate = self.total_micro_usd * NANO_PER_MICRO * NS_PER_HOUR // gpu_ns
        return Price(
            self.gpu_model, self.host, "reserved", rate, self.from_ns, self.until_ns,
            commitment=self.commitment_id, line=self.line,
        )  # fmt: skip


def charge(
    nano_usd_per_gpu_hour: int, from_ns: int, until_ns: int, share: tuple[int, int] = (1, 1)
) -> int:
    """Return whole micro-dollars for a time, rounded so that adjoining times add up exactly.

    The charge is the difference of what had accrued at both ends, each rounded down: however a
    month is cut, its parts sum to the month.
    """
    numerator, denominator = share
    rate = nano_usd_per_gpu_hour * numerator
    unit = NS_PER_HOUR * NANO_PER_MICRO * denominator
    return until_ns * rate // unit - from_ns * rate // unit


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices and commitments in force."""

    prices: tuple[Price, ...] = ()
    commitments: tuple[Commitment, ...] = ()

    def price_at(
        self, gpu_model: str, host: str, at_ns: int, term: str | None = None,
        committed: Collection[str] = (),
    ) -> Price | None:  # fmt: skip
        """Return the most precise price for a GPU on a host at a Unix time, None without any.

        Without a term the first of TERMS that has a price is taken, among equally precise ones.
        committed: ids of the commitments that cover the GPU; they go before any other price, and
        those that do not cover it are left out.
        """
        fitting = [
            price
            for price in self.prices
            if price.matches(gpu_model, host, at_ns)
            and term in (None, price.term)
            and (price.commitment is None or price.commitment in committed)
        ]
        return max(fitting, key=_preference, default=None)

    def estimate_micro_usd(
        self, gpu_model: str, host: str, gpu_count: int, duration_ns: int, at_ns: int,
        term: str | None = None,
    ) -> int | None:  # fmt: skip
        """Return what gpu_count GPUs would cost from at_ns on, None without a price."""
        price = self.price_at(gpu_model, host, at_ns, term)
        if price is None:
            return None
        return price.micro_usd(at_ns, at_ns + duration_ns, (gpu_count, 1))

    def cuts(self, from_ns: int, until_ns: int) -> list[int]:
        """Return the times strictly between at which some price or commitment changes, sorted."""
        rows: tuple[Price | Commitment, ...] = (*self.prices, *self.commitments)
        edges = {edge for row in rows for edge in (row.from_ns, row.until_ns)}
        return sorted(edge for edge in edges if from_ns < edge < until_ns)


def overlapping(prices: Iterable[Price]) -> tuple[Price, Price] | None:
    """Return two prices of one GPU pattern, host pattern and term that hold at the same time."""
    last: Price | None = None
    for price in sorted(prices, key=lambda row: (*_match_key(row), row.from_ns, row.line)):
        if last and _match_key(last) == _match_key(price) and price.from_ns < last.until_ns:
            return last, price
        last = price
    return None


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to weights; the parts add up to it.

    Largest remainder, the earlier one of equals; without any weight all parts are equal.
    """
    if not weights:
        return []
    whole = sum(weights)
    if whole == 0:
        weights, whole = [1] * len(weights), len(weights)
    parts = [total * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda at: (-(total * weights[at] % whole), at))
    for at in order[: total - sum(parts)]:
        parts[at] += 1
    return parts


def _preference(price: Price) -> tuple[bool, tuple[int, int, int, int], int]:
    return price.commitment is not None, price.rank, -TERMS.index(price.term)


def _match_key(price: Price) -> tuple[str, str, str, str]:
    return price.gpu_model.casefold(), price.host, price.term, price.commitment or ""


def _precision(pattern: str) -> tuple[int, int]:
    """A name before a pattern, a pattern with more letters before one with fewer."""
    return int(not set(pattern) & set("*?[")), len(pattern.replace("*", "").replace("?", ""))
