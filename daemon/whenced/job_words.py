"""What a program says about itself: one datagram → one statement. Pure.

A datagram is text in UTF-8, its fields separated by NUL bytes::

    version  verb  target  flags  step  name  value  name  value …

version is "1"; verb "tag" or "metric"; target "self", "parent" or a process id; flags any of
"inherit", "remove" and "answer", joined by commas; step a whole number or nothing. The same
format is written in client/whence/light.py: neither end may import the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

VERSION: Final = "1"
LINE_BYTES: Final = 8 << 10
PAIRS: Final = 64
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._/-]{0,63}")
_VALUE_CHARS: Final = 2000
_FLAGS: Final = frozenset({"inherit", "remove", "answer"})
_STEP: Final = re.compile(r"-?[0-9]{1,18}")


class Unclear(ValueError):  # noqa: N818 - what the message is, told to who sent it
    """A datagram that breaks the format; the text says where."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One datagram, understood."""

    verb: str
    target: str
    flags: frozenset[str]
    step: int | None
    pairs: tuple[tuple[str, str], ...]

    def numbers(self) -> list[tuple[str, float]]:
        """Return the pairs of a metric as numbers. Raises Unclear."""
        return [(name, _number(name, value)) for name, value in self.pairs]


def parse(datagram: bytes) -> Statement:
    """Return what a datagram says. Raises Unclear."""
    fields = datagram.decode("utf-8", "backslashreplace").split("\0")
    if len(fields) < 7 or fields[0] != VERSION or len(fields) % 2 == 0:
        raise Unclear("the message is not of this format: update whence on one of the two sides")
    _, verb, target, flags, step, *rest = fields
    if verb not in ("tag", "metric"):
        raise Unclear(f"{verb!r} is neither tag nor metric")
    if not (target in ("self", "parent") or re.fullmatch(r"[0-9]{1,10}", target)):
        raise Unclear(f"{target!r} names no process: give its id")
    chosen = frozenset(filter(None, flags.split(",")))
    if not chosen <= _FLAGS:
        raise Unclear(f"{flags!r} holds an unknown flag")
    if step and not _STEP.fullmatch(step):
        raise Unclear(f"step {step!r} is no whole number")
    pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
    _check(pairs)
    return Statement(verb, target, chosen, int(step) if step else None, pairs)


def _check(pairs: tuple[tuple[str, str], ...]) -> None:
    if len(pairs) > PAIRS:
        raise Unclear(f"{len(pairs)} values in one message: send at most {PAIRS}")
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise Unclear(
                f"{name!r} is no key: a letter, then letters, digits, '.', '_', '-' and '/', "
                "64 at most"
            )
        if len(value) > _VALUE_CHARS:
            raise Unclear(f"the value of {name} is longer than {_VALUE_CHARS:,} characters")


def _number(name: str, text: str) -> float:
    try:
        return float(text)  # "nan" and "inf" too: a loss that explodes is news
    except ValueError:
        raise Unclear(f"{name} is {text!r}, which is no number") from None
