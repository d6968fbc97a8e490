"""The page that an answer is set on: its width, colours and clock, and columns on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whence.text import cells, clip, clip_start

Look = Literal["plain", "strong", "faint", "good", "bad", "odd"]

_CODES = {"strong": "1", "faint": "2", "good": "32", "bad": "31", "odd": "33"}
LABEL_CELLS = 10


@dataclass(frozen=True, slots=True)
class Page:
    """How to set lines.

    width: columns, None when nothing is to be cut (output is not a terminal).
    now_unix_ns: the time that "3 minutes ago" counts from. colour: whether to use it.
    """

    width: int | None
    now_unix_ns: int
    colour: bool = False

    def paint(self, text: str, look: Look) -> str:
        """Return the text in its look; as it is without colour."""
        if not self.colour or look == "plain" or not text:
            return text
        return f"\x1b[{_CODES[look]}m{text}\x1b[0m"

    def inner(self, indent: int = LABEL_CELLS) -> Page:
        """Return the page that is left to the right of an indent."""
        width = None if self.width is None else max(self.width - indent, 20)
        return Page(width=width, now_unix_ns=self.now_unix_ns, colour=self.colour)

    def clip(self, text: str) -> str:
        """Return the text cut to one line of the page."""
        return text if self.width is None else clip(text, self.width)


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a column, with its look."""

    text: str
    look: Look = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """How a column gives way: `shrink` may be cut to `least`, `tail` keeps its end (paths)."""

    title: str = ""
    right: bool = False
    shrink: bool = False
    tail: bool = False
    least: int = 8


def labelled(page: Page, label: str, lines: Sequence[str]) -> list[str]:
    """Return lines with a label before the first and the same indent before the others."""
    head = page.paint(label, "faint") + " " * (LABEL_CELLS - cells(label))
    return [
        (head if number == 0 else " " * LABEL_CELLS) + line for number, line in enumerate(lines)
    ]


def flow(page: Page, items: Sequence[str], joint: str = " · ") -> list[str]:
    """Return items joined in as few lines as the page allows; items longer than it are cut."""
    lines: list[str] = []
    for item in items:
        if lines and (page.width is None or cells(lines[-1] + joint + item) <= page.width):
            lines[-1] += joint + item
        else:
            lines.append(page.clip(item))
    return lines


def wrap(page: Page, text: str, most: int = 3) -> list[str]:
    """Return a text in at most `most` lines, broken at spaces where there are any."""
    if page.width is None:
        return [text]
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most - 1 and cells(rest) > page.width:
        head = clip(rest, page.width + 1)[:-1]
        cut = head.rfind(" ")
        cut = cut if cut > page.width // 2 else len(head)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, page.clip(rest)] if rest or not lines else lines


def columns(page: Page, kinds: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return rows set in columns, two spaces between, with titles when any column has one."""
    titles = [[Cell(kind.title, "faint") for kind in kinds]] if any(k.title for k in kinds) else []
    everything = [*titles, *rows]
    if not everything:
        return []
    widths = [max(cells(row[number].text) for row in everything) for number in range(len(kinds))]
    widths = _shrink(widths, kinds, page.width)
    return [_set_row(page, kinds, widths, row) for row in everything]


def _shrink(widths: list[int], kinds: Sequence[Column], width: int | None) -> list[int]:
    if width is None:
        return widths
    widths = [
        min(have, width) if kind.shrink else have for have, kind in zip(widths, kinds, strict=True)
    ]
    gaps = 2 * sum(1 for have in widths[1:] if have)
    # On a very narrow page even what should stay whole gives way.
    for hard in (False, True):
        least = [4 if hard else kind.least for kind in kinds]
        for _ in range(sum(widths) + gaps - width):
            soft = [n for n, kind in enumerate(kinds) if kind.shrink and widths[n] > least[n]]
            if not soft:
                break
            widths[max(soft, key=lambda number: widths[number])] -= 1
    return widths


def _set_row(page: Page, kinds: Sequence[Column], widths: list[int], row: Sequence[Cell]) -> str:
    parts = []
    for kind, width, cell in zip(kinds, widths, row, strict=True):
        if not width:
            continue
        text = (clip_start if kind.tail else clip)(cell.text, width)
        pad = " " * (width - cells(text))
        painted = page.paint(text, cell.look)
        parts.append(pad + painted if kind.right else painted + pad)
    return "  ".join(parts).rstrip()
