"""Figures to text: what `make bench` says of what it measured."""

from __future__ import annotations

import pytest
from bench.report import (
    Section,
    quantile,
    ratio,
    size_text,
    spread,
    to_markdown,
    with_preface,
    with_section,
)


def section(name: str, figure: str = "1 ms") -> Section:
    """Make a section with one row."""
    return Section(name, "a title", "a target", "A method.", ("what", "figure"), (("x", figure),))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    """The nearest rank: 99 of 100 values do not exceed the p99."""
    values = list(range(100, 0, -1))

    assert quantile(values, share) == expected


def test_quantile_of_few_values_is_the_greatest() -> None:
    """With less than 100 values nothing but the greatest is the p99."""
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_quantile_of_nothing_is_refused() -> None:
    """No figure is made up."""
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_spread() -> None:
    """Median, least, greatest, unit."""
    assert spread([3.0, 1.0, 1200.5], "ms", 1) == "3.0 ms (1.0 to 1,200.5)"


def test_ratio_is_of_pairs() -> None:
    """The median of ratios, not the ratio of medians: pairs shared the machine's mood."""
    assert ratio([2.0, 10.0, 3.0], [1.0, 10.0, 2.0]) == "x 1.50 (1.00 to 2.00)"


def test_ratio_needs_pairs() -> None:
    """Lists of different length were not measured side by side."""
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (20 << 20, "20 MiB"), (3 << 30, "3 GiB")],
)
def test_size_text(size_bytes: int, text: str) -> None:
    """Binary units."""
    assert size_text(size_bytes) == text


def test_markdown_of_a_section() -> None:
    """A heading, the target with the command, the method, the table, the remarks."""
    made = Section("idle", "at rest", "1 %", "How.", ("a", "b"), (("x|y", "1"),), ("A remark.",))

    assert to_markdown(made) == (
        "## idle: at rest\n\n"
        "Target: 1 %. Measured by `make bench BENCH=idle`.\n\n"
        "How.\n\n"
        "| a | b |\n|---|---|\n| x\\|y | 1 |\n\n"
        "A remark.\n"
    )


def test_a_new_section_is_appended() -> None:
    """The others stay as they are."""
    page = with_section("# Numbers\n", section("one"))

    assert with_section(page, section("two")) == page + "\n" + to_markdown(section("two"))


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_a_section_is_replaced_in_its_place(name: str) -> None:
    """First, middle and last one alike; nothing else changes."""
    page = "# Numbers\n"
    for each in ("one", "two", "three"):
        page = with_section(page, section(each))
    wanted = page.replace(to_markdown(section(name)), to_markdown(section(name, "2 ms")))

    assert with_section(page, section(name, "2 ms")) == wanted


def test_a_name_that_begins_another_is_not_taken_for_it() -> None:
    """`volume` leaves `volume_more` alone."""
    page = with_section("# Numbers\n", section("volume_more"))

    assert with_section(page, section("volume")) == page + "\n" + to_markdown(section("volume"))


def test_the_preface_is_replaced() -> None:
    """All that precedes the first section, and nothing of the sections."""
    page = with_section("# Old\n\nwords\n", section("one"))

    assert with_preface(page, "# New\n") == "# New\n\n" + to_markdown(section("one"))


def test_a_preface_without_sections() -> None:
    """An empty page gets only the preface."""
    assert with_preface("", "# New\n") == "# New\n"
