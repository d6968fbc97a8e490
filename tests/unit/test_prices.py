"""Exact prices: the file with its mistakes, which price holds, and money that adds up."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from whence_collector.errors import InvalidPrices
from whence_collector.price_file import parse_prices, read_prices
from whence_collector.prices import (
    NS_PER_HOUR,
    Commitment,
    Price,
    PriceBook,
    charge,
    overlapping,
    shares,
)

ROOT = Path(__file__).parents[2]
DAY_NS = 24 * NS_PER_HOUR
JANUARY_NS = 1_767_225_600 * 10**9  # 2026-01-01 UTC

BOOK = """
# what our cloud takes
[[price]]
gpu_model = "NVIDIA H100*"
usd_per_gpu_hour = 12.29
from = 2026-01-01
until = 2026-07-01

[[price]]
gpu_model = "NVIDIA H100*"
usd_per_gpu_hour = 6.88
list_usd_per_gpu_hour = "8"
from = 2026-07-01

[[price]]
gpu_model = "NVIDIA H100*"
host = "spot-*"
term = "spot"
usd_per_gpu_hour = "2.123456789"
from = 2026-01-01T00:00:00Z

[[commitment]]
id = "reserved-2026"
gpu_model = "NVIDIA H200"
host = "own-1"
gpus = 8
from = 2026-01-01
until = 2026-02-01
usd_total = 10000
"""


def test_a_file_becomes_exact_prices() -> None:
    book = parse_prices(BOOK)

    assert [price.nano_usd_per_gpu_hour for price in book.prices[:3]] == [
        12_290_000_000,
        6_880_000_000,
        2_123_456_789,
    ]
    assert book.prices[1].list_nano_usd_per_gpu_hour == 8_000_000_000
    assert (book.prices[0].from_ns, book.prices[0].line) == (JANUARY_NS, 3)


@pytest.mark.parametrize(
    ("model", "host", "at_ns", "rate"),
    [
        ("NVIDIA H100 80GB HBM3", "gpu-1", JANUARY_NS, 12_290_000_000),
        ("nvidia h100 80gb hbm3", "gpu-1", JANUARY_NS + 190 * DAY_NS, 6_880_000_000),
        ("NVIDIA H100 80GB HBM3", "spot-7", JANUARY_NS, 2_123_456_789),
        ("NVIDIA H100 80GB HBM3", "gpu-1", JANUARY_NS - 1, None),
        ("NVIDIA A100", "gpu-1", JANUARY_NS, None),
    ],
)
def test_the_most_precise_price_in_force_holds(
    model: str, host: str, at_ns: int, rate: int | None
) -> None:
    price = parse_prices(BOOK).price_at(model, host, at_ns)

    assert (price and price.nano_usd_per_gpu_hour) == rate


def test_a_host_by_name_goes_before_a_longer_pattern_and_a_term_can_be_asked_for() -> None:
    rows = (
        Price("*", "gpu-cluster-number-*", "on-demand", 1, 0),
        Price("*", "gpu-cluster-number-1", "on-demand", 2, 0),
        Price("*", "gpu-cluster-number-1", "spot", 3, 0),
    )
    book = PriceBook(rows)

    assert book.price_at("X", "gpu-cluster-number-1", 5) == rows[1]
    assert book.price_at("X", "gpu-cluster-number-1", 5, "spot") == rows[2]
    assert book.price_at("X", "gpu-cluster-number-2", 5) == rows[0]
    assert book.price_at("X", "gpu-cluster-number-2", 5, "owned") is None


def test_an_estimate_is_what_the_time_will_cost() -> None:
    book = parse_prices(BOOK)

    estimate = book.estimate_micro_usd(
        "NVIDIA H100 80GB HBM3", "gpu-1", 8, 10 * NS_PER_HOUR, JANUARY_NS
    )

    assert estimate == 983_200_000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[price]]\ngpu_model = 'X'\nusd_per_gpu_huor = 1\nfrom = 2026-01-01\n",
         "p line 3: unknown key 'usd_per_gpu_huor', did you mean 'usd_per_gpu_hour'?"),
        ("[[price]]\ngpu_model = 'X'\nfrom = 2026-01-01\n",
         "p line 1: usd_per_gpu_hour is missing; add usd_per_gpu_hour = 12.29"),
        ("# a\n[[price]]\ngpu_model = 'X'\nusd_per_gpu_hour = -1\nfrom = 2026-01-01\n",
         "p line 4: usd_per_gpu_hour = -1 must be an amount of at least 0 with at most 9 "
         "decimal places, as in usd_per_gpu_hour = 12.29"),
        ("[[price]]\ngpu_model = 'X'\nusd_per_gpu_hour = 'nan'\nfrom = 2026-01-01\n",
         "p line 3: usd_per_gpu_hour = 'nan' must be an amount of at least 0 with at most 9 "
         "decimal places, as in usd_per_gpu_hour = 12.29"),
        ("[[price]]\ngpu_model = 'X'\nusd_per_gpu_hour = 1\nfrom = 'soon'\n",
         "p line 4: from = 'soon' must be a date or date-time (UTC unless it names a zone), "
         "as in from = 2026-01-01"),
        ("[[price]]\ngpu_model = 'X'\nterm = 'free'\nusd_per_gpu_hour = 1\nfrom = 2026-01-01\n",
         "p line 3: term = 'free' must be one of on-demand, reserved, spot, owned, "
         "as in term = \"on-demand\""),
        ("[[price]]\ngpu_model = 'X'\nusd_per_gpu_hour = 1\nfrom = 2026-02-01\n"
         "until = 2026-01-01\n",
         "p line 1: until is not after from; exchange the two"),
        ("[[prices]]\n", "p line 1: unknown table 'prices', did you mean 'price'?"),
        ("[price]\ngpu_model = 'X'\n",
         "p line 1: write each price as a table of its own, [[price]]"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_and_remedy(text: str, sentence: str) -> None:
    with pytest.raises(InvalidPrices) as raised:
        parse_prices(text, "p")

    assert str(raised.value) == sentence


def test_broken_toml_names_its_line() -> None:
    with pytest.raises(InvalidPrices, match=r"p is not valid TOML: .*line 2"):
        parse_prices("[[price]]\ngpu_model = \n", "p")


def test_overlapping_prices_name_both_lines() -> None:
    row = "[[price]]\ngpu_model = 'X'\nusd_per_gpu_hour = 1\nfrom = 2026-01-01\n"

    with pytest.raises(InvalidPrices, match=r"p line 5: this price overlaps the one of line 1 "):
        parse_prices(row + row, "p")


def test_adjoining_prices_do_not_overlap() -> None:
    first, second = Price("X", "*", "spot", 1, 0, 10), Price("X", "*", "spot", 2, 10, 20)

    assert overlapping([second, first]) is None


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidPrices, match="cannot be read"):
        read_prices(tmp_path)


def test_the_shipped_file_is_valid() -> None:
    assert read_prices(ROOT / "deploy" / "config" / "prices.toml") == PriceBook()


def test_however_a_time_is_cut_its_parts_cost_the_whole() -> None:
    chance = random.Random(7)  # noqa: S311 -- chance, not secrets
    for _ in range(200):
        rate, begin = chance.randrange(10**11), chance.randrange(2 * 10**18)
        end = begin + chance.randrange(1, 10**16)
        cuts = sorted([begin, end, *(chance.randrange(begin, end) for _ in range(20))])
        share = (chance.randrange(1, 8), 8)

        parts = sum(charge(rate, a, b, share) for a, b in pairwise(cuts))

        assert parts == charge(rate, begin, end, share)
        exact = Fraction((end - begin) * rate * share[0], NS_PER_HOUR * 1000 * share[1])
        assert abs(parts - exact) < 1


def test_shares_add_up_and_follow_the_weights() -> None:
    assert shares(10, [1, 1, 1]) == [4, 3, 3]
    assert shares(10, [0, 0]) == [5, 5]
    assert shares(-1, [1, 1]) == [0, -1]
    assert shares(7, []) == []
    assert shares(100, [3, 0, 1]) == [75, 0, 25]


def test_a_commitment_is_paid_in_full_however_it_is_cut() -> None:
    commitment = Commitment("c", "X", "*", 8, JANUARY_NS, JANUARY_NS + 31 * DAY_NS, 10**10 + 1)
    days = [commitment.paid_micro_usd(JANUARY_NS + d * DAY_NS, JANUARY_NS + (d + 1) * DAY_NS)
            for d in range(-3, 40)]  # fmt: skip

    assert sum(days) == 10**10 + 1
