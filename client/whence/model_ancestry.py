"""What answers about ancestry are made of: see model.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whence.model import KINDS as PLAIN
from whence.model import FileEdge, Run


@dataclass(frozen=True, slots=True)
class Tree:
    """A set of files below one folder, by content."""

    digest: str
    kind: str
    members: int
    size_bytes: int
    first_seen_unix_ns: int


@dataclass(frozen=True, slots=True)
class TreeUse:
    """That a run read or wrote a tree, or a part of it."""

    tree: Tree
    run: Run
    path: str
    wrote: bool
    members_touched: int
    bytes: int
    first_unix_ns: int
    last_unix_ns: int
    step: int | None


@dataclass(frozen=True, slots=True)
class TreeMatch:
    """A tree that answers a question."""

    tree: Tree
    members_equal: int | None
    uses: tuple[TreeUse, ...]
    member_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundTrees:
    """The tree that was asked for first, then others."""

    matches: tuple[TreeMatch, ...]


@dataclass(frozen=True, slots=True)
class Touch:
    """One read of a content that was looked for."""

    path: str
    digest: str
    run: Run
    first_unix_ns: int
    route: tuple[str, ...]
    strength: str | None


@dataclass(frozen=True, slots=True)
class Touched:
    """Whether an ancestry read given contents: yes, no or unknown."""

    subject: str
    verdict: str
    contents: int
    touches: tuple[Touch, ...]
    runs: int
    inputs: int
    inputs_known: int
    reasons: tuple[str, ...]
    truncated: bool
    caveats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootInput:
    """A file that no observed run made."""

    file: FileEdge
    run_id: str
    source: str | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootInputs:
    """Data that no observed run made."""

    subject: str
    inputs: tuple[RootInput, ...]
    truncated: bool
    complete: bool
    incomplete_reasons: tuple[str, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs."""

    category: str
    what: str
    a: str | None
    b: str | None
    weight: float
    hops: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two runs, most important first."""

    a: Run
    b: Run
    differences: tuple[Difference, ...]
    same: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody behind a run or content."""

    kind: str
    name: str
    acting_for: str | None
    roles: tuple[str, ...]
    runs: int
    hosts: tuple[str, ...]
    first_unix_ns: int
    last_unix_ns: int
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Who:
    """People and agents along a lineage."""

    subject: str
    people: tuple[Person, ...]
    runs: int
    complete: bool
    incomplete_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeDifference:
    """A file of a repository that was not as committed."""

    path: str
    change: str
    difference: str | None
    reason: str | None
    redacted: bool


@dataclass(frozen=True, slots=True)
class RecipeStep:
    """One run to be done again."""

    run: Run
    argv: tuple[str, ...]
    environment: tuple[str, ...]
    remote: str | None
    changes: tuple[CodeDifference, ...]
    packages: tuple[str, ...]
    interpreters: tuple[str, ...]
    image: str | None
    seeds: tuple[str, ...]
    inputs: tuple[FileEdge, ...]
    outputs: tuple[FileEdge, ...]
    exact: str | None
    same_result: str | None
    intent: str | None


@dataclass(frozen=True, slots=True)
class RecipeInput:
    """A file that has to be there before the first step that reads it."""

    file: FileEdge
    host: str
    seen_at: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make something again."""

    subject: str
    steps: tuple[RecipeStep, ...]
    inputs: tuple[RecipeInput, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """That a run repeats an earlier one."""

    run: Run
    earlier: Run
    grade: str
    inputs_matched: int
    noticed_unix_ns: int
    earlier_cost_usd: float | None
    made: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Runs that repeat earlier ones."""

    duplicates: tuple[Duplicate, ...]
    truncated: bool
    caveats: tuple[str, ...]


KINDS: Mapping[str, type] = {
    **PLAIN,
    "Tree": Tree,
    "TreeUse": TreeUse,
    "TreeMatch": TreeMatch,
    "FindTreeReply": FoundTrees,
    "Touch": Touch,
    "TouchedReply": Touched,
    "RootInput": RootInput,
    "RootInputsReply": RootInputs,
    "Difference": Difference,
    "CompareReply": Comparison,
    "Person": Person,
    "WhoReply": Who,
    "CodeDifference": CodeDifference,
    "RecipeStep": RecipeStep,
    "RecipeInput": RecipeInput,
    "RecipeReply": Recipe,
    "Duplicate": Duplicate,
    "DuplicatesReply": Duplicates,
}
