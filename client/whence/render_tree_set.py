"""Trees of files (datasets, checkpoints) → lines for people. Pure; texts must be cleaned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from whence.model import FileEdge, TreeEdge
from whence.model_ancestry import FoundTrees, TreeMatch, TreeUse
from whence.page import Cell, Column, Page, columns, labelled
from whence.text import ago_text, brief_command, count_text, near_path, short_run, size_text

TREE_CELLS = len("tree:") + 12
Edge = TypeVar("Edge", bound=FileEdge)


def short_tree(digest: str) -> str:
    """Return enough of a tree's digest to ask with."""
    return digest[:TREE_CELLS]


def tree_lines(
    page: Page, name: str, digest: str, counted: tuple[int, int], found: FoundTrees
) -> list[str]:
    """Return what is known of a folder; counted is its number of files and their bytes."""
    files, size_bytes = counted
    head = f"{name}  {short_tree(digest)}  {count_text(files, 'file')}, {size_text(size_bytes)}"
    lines = [page.paint(page.clip(head), "strong")]
    same = [match for match in found.matches if match.tree.digest == digest]
    others = [match for match in found.matches if match.tree.digest != digest]
    inner = page.inner()
    for match in same:
        lines += labelled(page, match.tree.kind, ["all of it is known"])
        for label, wrote in (("made by", True), ("read by", False)):
            uses = [use for use in match.uses if use.wrote is wrote]
            lines += labelled(page, label, _uses(inner, uses))
    if not same:
        lines.append("no observed run wrote or read all of it as it is now")
    if others and not same:
        lines += labelled(page, "was", [_likeness(match, files) for match in others])
        uses = [use for match in others for use in match.uses]
        lines += labelled(page, "then used", _uses(inner, uses))
    return lines


def _likeness(match: TreeMatch, files: int) -> str:
    equal = match.members_equal or 0
    return (
        f"{short_tree(match.tree.digest)}  {count_text(match.tree.members, 'file')}, "
        f"of which {equal:,} or more are here unchanged ({files:,} now)"
    )


def _uses(page: Page, uses: Sequence[TreeUse]) -> list[str]:
    kinds = (Column(), Column(shrink=True), Column(), Column())
    rows = [
        [
            Cell(short_run(use.run.run_id)),
            Cell(brief_command(use.run.command)),
            Cell(coverage_text(use.members_touched, use.tree.members)),
            Cell(ago_text(use.last_unix_ns, page.now_unix_ns), "faint"),
        ]
        for use in uses[:10]
    ]
    return columns(page, kinds, rows)


def coverage_text(touched: int, members: int) -> str:
    """Return "1,200 of 1,200 members"."""
    return f"{touched:,} of {count_text(members, 'member')}"


def edge_of_tree(page: Page, tree: TreeEdge, cwd: str | None) -> str:
    """Return a tree as one line among the files of a run."""
    name = near_path(tree.path, cwd) or "."
    return page.clip(
        f"{tree.kind}  {name}/  {short_tree(tree.digest)}  "
        f"{coverage_text(tree.members_touched, tree.members)}, {size_text(tree.bytes)}"
    )


def outside(files: Iterable[FileEdge], trees: Sequence[TreeEdge]) -> tuple[FileEdge, ...]:
    """Return the files that are not told by a tree already: data, models and settings below it."""
    folders = tuple(tree.path.rstrip("/") + "/" for tree in trees)
    return tuple(
        file
        for file in files
        if file.class_ not in ("data", "model", "config") or not file.path.startswith(folders)
    )
