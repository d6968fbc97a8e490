"""How close a result done again comes to the recorded one: grades R0 to R5.

R0 the plan is complete, R1 it runs to exit 0, R2 the same outputs are there, R3 their numbers are
close, R4 their tensors are close, R5 every byte is the same. A step has the grade that all of its
outputs reach; a reproduction has that of its weakest step.
"""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TOLERANCE = 0.01  # relative, of numbers and tensors
BYTES_MOST = 1 << 30
_FORMATS = {"F64": "d", "F32": "f"}


@dataclass(frozen=True, slots=True)
class Compared:
    """One output: recorded digest, digest made now (None: it is not there), and where both lie."""

    path: str
    recorded: str
    found: str | None
    original: str | None = None
    made: str | None = None


@dataclass(frozen=True, slots=True)
class OutputGrade:
    """One output with its grade, 1 where it is missing, and how far its numbers are off."""

    path: str
    grade: int
    recorded: str
    found: str | None
    largest_difference: float | None


@dataclass(frozen=True, slots=True)
class StepGrade:
    """One command: 0 where it failed, else 1 to 5."""

    command: str
    grade: int
    exit_code: int
    took_s: float
    outputs: tuple[OutputGrade, ...]


def grade_of_step(
    command: str, exit_code: int, took_s: float, compared: Sequence[Compared]
) -> StepGrade:
    """Return the grade of a command that ended."""
    outputs = tuple(_output(each) for each in compared)
    if exit_code != 0:
        grade = 0
    elif not outputs:
        grade = 1
    else:
        grade = min(each.grade for each in outputs)
    return StepGrade(command, grade, exit_code, took_s, outputs)


def overall(steps: Sequence[StepGrade], planned: int) -> int:
    """Return the grade of all: that of the weakest, 0 where not everything was run."""
    return min((step.grade for step in steps), default=0) if len(steps) == planned else 0


def _output(each: Compared) -> OutputGrade:
    if each.found is None:
        return OutputGrade(each.path, 1, each.recorded, None, None)
    if each.found == each.recorded:
        return OutputGrade(each.path, 5, each.recorded, each.found, 0.0)
    grade, off = 2, None
    if each.original is not None and each.made is not None:
        grade, off = likeness(Path(each.original), Path(each.made))
    return OutputGrade(each.path, grade, each.recorded, each.found, off)


def likeness(original: Path, made: Path) -> tuple[int, float | None]:
    """Return the grade of two files whose bytes differ, and the largest relative difference."""
    if max(original.stat().st_size, made.stat().st_size) > BYTES_MOST:
        return 2, None
    try:
        if original.suffix == ".safetensors":
            pair = list(_tensors(original)), list(_tensors(made))
            grade = 4
        else:
            pair = (
                list(_numbers(json.loads(original.read_bytes()))),
                list(_numbers(json.loads(made.read_bytes()))),
            )
            grade = 3
    except (ValueError, KeyError, TypeError, struct.error, RecursionError):
        return 2, None
    off = largest_difference(*pair)
    return (grade if off is not None and off <= TOLERANCE else 2), off


def largest_difference(
    a: Sequence[tuple[str, float]], b: Sequence[tuple[str, float]]
) -> float | None:
    """Return the largest relative difference of named numbers; None where they are not the same."""
    if len(a) != len(b) or not a:
        return None
    largest = 0.0
    for (name, x), (other, y) in zip(a, b, strict=True):
        if name != other:
            return None
        if math.isnan(x) and math.isnan(y):
            continue
        scale = max(abs(x), abs(y), 1e-12)
        off = 0.0 if x == y else abs(x - y) / scale
        largest = max(largest, math.inf if math.isnan(off) else off)
    return largest


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a JSON document with where they stand; other values count by name."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _numbers(value[key], f"{name}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _numbers(item, f"{name}[{number}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)
    else:
        yield f"{name}={value!r}", 0.0


def _tensors(path: Path) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a safetensors file (8 bytes of length, JSON, then the tensors)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        begin = 8 + length
        for name in sorted(key for key in header if key != "__metadata__"):
            entry = header[name]
            low, high = entry["data_offsets"]
            file.seek(begin + low)
            values = array(_FORMATS[entry["dtype"]])
            values.frombytes(file.read(high - low))
            yield from ((name, value) for value in values)
