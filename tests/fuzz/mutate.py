"""Inputs from inputs: the mutations that find most, without looking at coverage.

For the short form in the suite; `make fuzz` lets atheris look at coverage.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

MOST_BYTES = 4096
# Lengths and signs that readers get wrong; texts that parsers treat differently.
TOKENS = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x01", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\n", b"'", b'"', b"--", b"/*", b";",
    b"[", b"{", b"=", b"../", b"//", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\xae", b"1e309", b"-1",
    b"99999999999999999999", b"true", b"DIRC",
)  # fmt: skip


def inputs(corpus: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield the corpus, then ``count`` mutants of it; the same for the same seed."""
    yield from corpus
    dice = random.Random(seed)  # noqa: S311 -- repeatable, not secret
    for _ in range(count):
        data = bytearray(dice.choice(corpus))
        for _ in range(1 + int(dice.expovariate(0.5))):
            _mutate(data, corpus, dice)
        yield bytes(data[:MOST_BYTES])


def _mutate(data: bytearray, corpus: Sequence[bytes], dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    kind = dice.randrange(6)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << dice.randrange(8)
    elif kind == 1:
        data[at:at] = dice.choice(TOKENS)
    elif kind == 2:
        del data[at : at + dice.randrange(1, 17)]
    elif kind == 3:
        end = at + dice.randrange(1, 33)
        data[at:at] = data[at:end] * dice.randrange(1, 4)
    elif kind == 4:
        other = dice.choice(corpus)
        begin = dice.randrange(len(other) + 1)
        data[at:] = other[begin:]
    else:
        data[at : at + 4] = dice.randbytes(dice.randrange(1, 9))
