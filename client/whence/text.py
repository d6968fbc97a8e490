"""Values → words for people: sizes, times, names that are safe to print. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

T = TypeVar("T")

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

# Control, format (right-to-left overrides), surrogate, line and paragraph separator.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
_RUNNERS = frozenset(("python", "bash", "sh", "zsh", "dash", "perl", "ruby", "node", "Rscript"))


def clean(text: str) -> str:
    r"""Return the text with whatever could steer a terminal written as \n, \x1b or \u202e."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(letter) for letter in text)


def _visible(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSAFE:
        return letter
    number = ord(letter)
    if number < 0x100:
        return _SHORT.get(letter, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def safe(value: T) -> T:
    """Return an answer with every text in it cleaned: names on a host are chosen by anybody."""
    return cast("T", _safe(value))


def _safe(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(_safe(item) for item in value)
    if isinstance(value, Mapping):
        return {_safe(key): _safe(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _safe(getattr(value, f.name)) for f in fields(value)})
    return value


def cells(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_letter_cells(letter) for letter in text)


def _letter_cells(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def clip(text: str, width: int) -> str:
    """Return at most `width` columns of a text, its end replaced by … where it is longer."""
    if cells(text) <= width:
        return text
    taken, used = [], 0
    for letter in text:
        used += _letter_cells(letter)
        if used > width - 1:
            break
        taken.append(letter)
    return "".join(taken) + "…" if width > 0 else ""


def clip_start(text: str, width: int) -> str:
    """Return at most `width` columns of a text, its start replaced by … (for paths)."""
    return text if cells(text) <= width else clip(text[::-1], width)[::-1]


def size_text(size_bytes: int) -> str:
    """Return bytes in decimal units: "512 B", "44.1 MB"."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value, unit = float(size_bytes), "B"
    for unit in _UNITS:  # noqa: B007  the unit reached is used after the loop
        value /= 1000
        if value < 999.95:
            break
    return f"{value:.1f} {unit}"


def count_text(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 run", "2,000 runs"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def number_text(number: float) -> str:
    """Return a measured number as short as it can be told apart: 0.93, 1.2e-05, 400."""
    return f"{number:,.0f}" if number == int_of(number) else f"{number:.6g}"


def int_of(number: float) -> int | None:
    """Return a number as a whole one where it is small enough to be read as such, else None."""
    return int(number) if abs(number) < 1e15 and number.is_integer() else None


def duration_text(span_ns: int) -> str:
    """Return a duration in two units at most: "120 ms", "12 s", "2 h 5 min"."""
    if span_ns < SECOND_NS:
        return f"{max(span_ns, 0) // 1_000_000} ms"
    if span_ns < 10 * SECOND_NS:
        return f"{span_ns / SECOND_NS:.1f} s"
    if span_ns < MINUTE_NS:
        return f"{span_ns // SECOND_NS} s"
    if span_ns < HOUR_NS:
        return _two(span_ns, (MINUTE_NS, "min"), (SECOND_NS, "s"))
    if span_ns < DAY_NS:
        return _two(span_ns, (HOUR_NS, "h"), (MINUTE_NS, "min"))
    return _two(span_ns, (DAY_NS, "d"), (HOUR_NS, "h"))


def _two(span_ns: int, big: tuple[int, str], small: tuple[int, str]) -> str:
    whole, rest = divmod(span_ns, big[0])
    rest //= small[0]
    return f"{whole} {big[1]} {rest} {small[1]}" if rest else f"{whole} {big[1]}"


def ago_text(then_unix_ns: int, now_unix_ns: int) -> str:
    """Return how long ago: "just now", "3 minutes ago", after 30 days the date (UTC)."""
    span_ns = now_unix_ns - then_unix_ns
    # Clocks of two hosts differ a little: a moment ahead is now, not a date.
    if -MINUTE_NS < span_ns < 2 * SECOND_NS:
        return "just now"
    if not 0 <= span_ns < 30 * DAY_NS:
        return f"on {date_text(then_unix_ns)}"
    units = ((DAY_NS, "day"), (HOUR_NS, "hour"), (MINUTE_NS, "minute"), (SECOND_NS, "second"))
    unit_ns, noun = next(unit for unit in units if span_ns >= unit[0])
    return f"{count_text(span_ns // unit_ns, noun)} ago"


def age_text(then_unix_ns: int, now_unix_ns: int) -> str:
    """Return how long ago in one short word: "30s", "3m", "5h", "12d"."""
    span_ns = max(now_unix_ns - then_unix_ns, 0)
    units = ((DAY_NS, "d"), (HOUR_NS, "h"), (MINUTE_NS, "m"), (SECOND_NS, "s"))
    unit_ns, letter = next((unit for unit in units if span_ns >= unit[0]), units[-1])
    return f"{span_ns // unit_ns}{letter}"


def date_text(unix_ns: int) -> str:
    """Return "2026-11-23 10:04 UTC"; for a number beyond the calendar the number itself."""
    try:
        moment = datetime.fromtimestamp(unix_ns // SECOND_NS, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{unix_ns} ns"
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def short_digest(digest: str, digits: int = 12) -> str:
    """Return enough of a digest to ask with: "blake3:9f2c61d8e0b1"."""
    return digest[: len("blake3:") + digits]


def short_run(run_id: str) -> str:
    """Return enough of a run id to ask with."""
    return run_id[:8]


def short_command(command: str) -> str:
    """Return the word that names a command: "train.py" for "python3 -u train.py --epochs 3"."""
    words = command.split()
    if not words:
        return "?"
    first = words[0].rpartition("/")[2]
    if first.rstrip("0123456789.") not in _RUNNERS:
        return first
    rest = words[1:]
    if "-m" in rest[:-1] and rest.index("-m") == _options(rest):
        return rest[rest.index("-m") + 1]
    scripts = rest[_options(rest) :]
    # In quotes: the text of a program (perl -ne '…'), no name of one.
    if scripts and "-c" not in rest[: _options(rest) + 1] and not scripts[0].startswith("'"):
        return scripts[0].rpartition("/")[2]
    return first


def brief_command(command: str) -> str:
    """Return a command without the folder of its program, for one line among many."""
    program, space, rest = command.partition(" ")
    return program.rpartition("/")[2] + space + rest if program.startswith("/") else command


def _options(words: list[str]) -> int:
    """Return how many leading words are plain options such as -u; -m and -c end them."""
    for number, word in enumerate(words):
        if not word.startswith("-") or word in ("-m", "-c"):
            return number
    return len(words)


def near_path(path: str, folder: str | None) -> str:
    """Return a path as seen from a folder above it, unchanged from elsewhere."""
    if folder and folder != "/" and path.startswith(folder.rstrip("/") + "/"):
        return path[len(folder.rstrip("/")) + 1 :]
    return path


_SINCE_UNITS_NS = {"s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS, "w": 7 * DAY_NS}


def since_unix_ns(text: str, now_unix_ns: int) -> int:
    """Return the moment of "90s", "30m", "2h", "3d", "1w" ago, or of an ISO date or time.

    A time without a zone is local. Raises ValueError for any other text.
    """
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and unit in _SINCE_UNITS_NS:
        return now_unix_ns - int(number) * _SINCE_UNITS_NS[unit]
    return int(datetime.fromisoformat(text).astimezone().timestamp()) * SECOND_NS
