"""Tags → lines for people. Pure; texts must be cleaned."""

from __future__ import annotations

from collections.abc import Sequence

from whence.model_tags import Tag, Tags
from whence.page import Cell, Column, Page, columns, flow
from whence.text import age_text, short_digest, short_run

_COLUMNS = (
    Column("AGE", right=True),
    Column("WHAT", shrink=True),
    Column("TAG", shrink=True, least=12),
    Column("WHO", shrink=True),
    Column("", shrink=True, tail=True),
)


def tag_lines(page: Page, tags: Sequence[Tag]) -> list[str]:
    """Return tags in as few lines as they take."""
    return flow(page, [word_of(tag) for tag in tags]) if tags else []


def word_of(tag: Tag) -> str:
    """Return a tag as it is written: KEY or KEY=VALUE."""
    return tag.key if tag.value is None else f"{tag.key}={tag.value}"


def tags_lines(page: Page, answer: Tags, what: str | None) -> list[str]:
    """Return tags as a table, newest first."""
    if not answer.tags:
        about = "nothing" if what is None else what
        return [f"{about} is tagged" if what is None else f"{about} has no tags"]
    lines = columns(page, _COLUMNS, [_cells(page, tag) for tag in answer.tags])
    if answer.truncated:
        lines.append(page.paint("there are more: raise --limit", "faint"))
    return lines


def _cells(page: Page, tag: Tag) -> list[Cell]:
    said = f"{'- ' if tag.removed else ''}{word_of(tag)}"
    remark = f"from {tag.inherited_from}" if tag.inherited_from else ""
    if tag.inherit and not remark:
        remark = "inherited by what is made from it"
    return [
        Cell(age_text(tag.at_unix_ns, page.now_unix_ns), "faint"),
        Cell(_subject(tag)),
        Cell(said, "faint" if tag.removed else "strong"),
        Cell(tag.who if tag.proven else f"{tag.who} ?"),
        Cell(remark, "faint"),
    ]


def _subject(tag: Tag) -> str:
    if tag.subject_kind == "run":
        return f"run {short_run(tag.subject)}"
    if tag.subject_kind == "process":
        return f"process {tag.subject}"
    return short_digest(tag.subject)
