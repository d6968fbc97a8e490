"""Figures to text: medians, spreads, tables, and the page that holds them. Pure.

May not measure, and may not say whether a figure is good: a target only stands beside it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found: a table, how it was made, and what was aimed at."""

    name: str
    title: str
    target: str
    method: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least ``share`` (0 to 1) of the values do not exceed.

    The nearest-rank definition: always a value that was measured. Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values were measured: run the benchmark for longer")
    rank = max(1, -(-len(values) * round(share * 1000) // 1000))
    return sorted(values)[rank - 1]


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Return ``median unit (least to greatest)`` of the values."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({least:,.{digits}f} to {most:,.{digits}f})"


def ratio(values: Sequence[float], against: Sequence[float]) -> str:
    """Return the median of the pairwise ratios as ``x 1.02 (0.99 to 1.05)``.

    Pairs were measured right after each other, so that what else the machine did is in both.
    """
    ratios = [one / other for one, other in zip(values, against, strict=True)]
    return f"x {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def size_text(size_bytes: int) -> str:
    """Return a size in binary units without a fraction, as ``20 MiB``."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= scale:
            return f"{size_bytes // scale} {unit}"
    return f"{size_bytes} B"


def to_markdown(section: Section) -> str:
    """Return the section as it stands in the page, with its command."""
    head = "| " + " | ".join(section.columns) + " |"
    rule = "|---" * len(section.columns) + "|"
    body = ("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in section.rows)
    parts = [
        f"## {section.name}: {section.title}",
        f"Target: {section.target}. Measured by `make bench BENCH={section.name}`.",
        section.method,
        "\n".join((head, rule, *body)),
        *section.remarks,
    ]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def with_section(page: str, section: Section) -> str:
    """Return the page with the section of that name replaced, or appended when it is new."""
    wanted = to_markdown(section)
    heading = re.compile(rf"^## {re.escape(section.name)}: ", re.MULTILINE)
    found = heading.search(page)
    if found is None:
        return page.rstrip("\n") + "\n\n" + wanted
    following = re.compile(r"^## ", re.MULTILINE).search(page, found.end())
    rest = "\n" + page[following.start() :] if following else ""
    return page[: found.start()] + wanted + rest


def with_preface(page: str, preface: str) -> str:
    """Return the page with all that precedes its first section replaced."""
    first = re.search(r"^## ", page, re.MULTILINE)
    return preface.rstrip("\n") + "\n" + ("\n" + page[first.start() :] if first else "")
