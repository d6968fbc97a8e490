"""What answers about tags and measured numbers are made of: see model.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tag:
    """One thing that is said of a run, a content or a process."""

    subject_kind: str
    subject: str
    key: str
    value: str | None
    removed: bool
    inherit: bool
    who: str
    proven: bool
    at_unix_ns: int
    inherited_from: str | None


@dataclass(frozen=True, slots=True)
class Tags:
    """What is said, newest first; inherited tags last."""

    tags: tuple[Tag, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Tagged:
    """What stands of a subject after something was said."""

    subject: str
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a program measured."""

    name: str
    value: float
    step: int | None
    at_unix_ns: int
    count: int
    least: float
    greatest: float


KINDS: Mapping[str, type] = {
    "TagEntry": Tag,
    "ListTagsReply": Tags,
    "TagReply": Tagged,
    "Metric": Metric,
}
