"""Answers about ancestry → lines for people. Pure; texts must be cleaned."""

from __future__ import annotations

from collections.abc import Sequence

from whence.model_ancestry import (
    Comparison,
    Difference,
    Duplicate,
    Duplicates,
    RootInputs,
    Touched,
    Who,
)
from whence.page import Cell, Column, Page, columns, labelled, wrap
from whence.render import complete_lines, content_cell
from whence.text import (
    age_text,
    brief_command,
    count_text,
    date_text,
    short_digest,
    short_run,
    size_text,
)

_MOST_DIFFERENCES = 20
_LESSER = 0.25


def diff_lines(page: Page, answer: Comparison, *, everything: bool) -> list[str]:
    """Return what differs, likely causes first."""
    lines = []
    for label, run in (("A", answer.a), ("B", answer.b)):
        words = f"{short_run(run.run_id)}  {run.status}  {brief_command(run.command)}"
        lines += labelled(page, label, [page.clip(words)])
    shown = [
        each
        for each in answer.differences
        if everything or each.weight >= _LESSER or each.category in ("outcome", "cost")
    ]
    most = len(shown) if everything else _MOST_DIFFERENCES
    if not answer.differences:
        lines.append("nothing differs that was seen")
    kinds = (
        Column(""),
        Column("WHAT", shrink=True, tail=True, least=12),
        Column("A", shrink=True),
        Column("B", shrink=True),
        Column(""),
    )
    lines += columns(page, kinds, [_difference(each) for each in shown[:most]]) if shown else []
    left = len(answer.differences) - len(shown[:most])
    if left:
        text = f"{count_text(left, 'lesser difference')}: `whence diff --all` lists them"
        lines.append(page.paint(text, "faint"))
    if answer.same:
        lines += labelled(page, "same", [", ".join(answer.same)])
    return lines + [page.paint(page.clip(f"! {reason}"), "odd") for reason in answer.reasons]


def _difference(each: Difference) -> list[Cell]:
    strong = each.weight >= 0.8
    return [
        Cell(each.category, "bad" if strong else "odd" if each.weight >= _LESSER else "faint"),
        Cell(each.what),
        Cell(_value(each.a)),
        Cell(_value(each.b)),
        Cell(f"{count_text(each.hops, 'run')} before" if each.hops else "", "faint"),
    ]


def _value(text: str | None) -> str:
    if text is None:
        return "-"
    if text.startswith("blake3:"):
        return short_digest(text, 8)
    return text[:12] if len(text) == 40 and text.isalnum() else text


def who_lines(page: Page, answer: Who) -> list[str]:
    """Return people and agents, who did most first."""
    kinds = (
        Column("WHO"),
        Column("FOR"),
        Column("RUNS", right=True),
        Column("DID"),
        Column("LAST", right=True),
        Column("COMMANDS", shrink=True),
    )
    rows = [
        [
            Cell(person.name + (" (agent)" if person.kind == "agent" else ""), "strong"),
            Cell(person.acting_for or ""),
            Cell(f"{person.runs:,}"),
            Cell(", ".join(person.roles)),
            Cell(age_text(person.last_unix_ns, page.now_unix_ns), "faint"),
            Cell(", ".join(brief_command(command) for command in person.commands)),
        ]
        for person in answer.people
    ]
    lines = columns(page, kinds, rows) if rows else ["nobody that was observed"]
    return lines + labelled(
        page, "complete", complete_lines(page, answer.complete, answer.incomplete_reasons)
    )


def touched_lines(page: Page, answer: Touched, by: str) -> list[str]:
    """Return the verdict with what it rests on."""
    inner = page.inner()
    looks = {"yes": "bad", "no": "good", "unknown": "odd"}
    heads = {
        "yes": f"yes: its ancestry read {by}",
        "no": f"no: nothing in its ancestry read {by}",
        "unknown": f"unknown: no read of {by} was seen, but not everything was seen",
    }
    lines = [page.paint(page.clip(heads[answer.verdict]), looks[answer.verdict])]  # type: ignore[arg-type]
    for touch in answer.touches:
        found = f"{touch.path}  {short_digest(touch.digest, 8)}  {date_text(touch.first_unix_ns)}"
        way = " → ".join(brief_command(command) for command in touch.route)
        route = [page.clip(found), *wrap(inner, way, 3)]
        if touch.strength == "same-content":
            route.append(page.paint("along equal content, not the same file", "faint"))
        lines += labelled(page, "read", route)
    if answer.truncated:
        lines.append(page.paint("there are more", "faint"))
    looked = (
        f"{count_text(answer.contents, 'content')} looked for in {count_text(answer.runs, 'run')}; "
        f"{answer.inputs_known:,} of {count_text(answer.inputs, 'input')} known by digest"
    )
    lines += labelled(page, "coverage", wrap(inner, looked, 2))
    why = [line for reason in answer.reasons for line in wrap(inner, reason, 3)]
    lines += labelled(page, "because" if answer.verdict == "unknown" else "but", why)
    return lines + _caveats(page, answer.caveats)


def _caveats(page: Page, caveats: tuple[str, ...]) -> list[str]:
    """Return what could hide more than an answer tells."""
    inner = page.inner()
    told = [line for each in caveats for line in wrap(inner, each, 2)]
    return labelled(page, "unseen", [page.paint(line, "faint") for line in told])


def duplicates_lines(page: Page, answer: Duplicates) -> list[str]:
    """Return repeats, newest first, each with what it could have had for nothing."""
    if not answer.duplicates:
        return ["no run repeats an earlier one", *_caveats(page, answer.caveats)]
    lines: list[str] = []
    for each in answer.duplicates:
        lines += _duplicate(page, each)
    if answer.truncated:
        lines.append(page.paint("there are more: raise --limit", "faint"))
    return lines + _caveats(page, answer.caveats)


def _duplicate(page: Page, each: Duplicate) -> list[str]:
    inner = page.inner()
    head = f"{short_run(each.run.run_id)}  {each.run.status}  {brief_command(each.run.command)}"
    cost = "" if each.earlier_cost_usd is None else f" for ${each.earlier_cost_usd:,.2f}"
    ran = (
        f"{short_run(each.earlier.run_id)} of {date_text(each.earlier.started_unix_ns)}{cost}: "
        f"{each.grade}, {count_text(each.inputs_matched, 'equal input')}"
    )
    made = [
        f"{path}  {short_digest(digest)}"
        for path, digest in zip(each.made[::2], each.made[1::2], strict=True)
    ]
    return [
        page.paint(page.clip(head), "strong"),
        *labelled(page, "repeats", wrap(inner, ran, 2)),
        *labelled(page, "it made", [inner.clip(line) for line in made[:3]]),
    ]


def roots_lines(page: Page, answer: RootInputs) -> list[str]:
    """Return data that no observed run made, with where it comes from."""
    kinds = (
        Column(""),
        Column("PATH", shrink=True, tail=True, least=16),
        Column("CONTENT"),
        Column("SIZE", right=True),
        Column("SOURCE", shrink=True, least=10),
        Column("TAGS", shrink=True),
    )
    rows = [
        [
            Cell(item.file.class_, "faint"),
            Cell(item.file.path),
            content_cell(item.file.digest, item.file.state),
            Cell("" if item.file.size_bytes is None else size_text(item.file.size_bytes)),
            Cell(item.source or "unsourced", "plain" if item.source else "odd"),
            Cell(" ".join(item.labels)),
        ]
        for item in answer.inputs
    ]
    lines = columns(page, kinds, rows) if rows else ["no data that no observed run made"]
    if answer.truncated:
        lines.append(page.paint("there are more: raise --limit", "faint"))
    lines += labelled(
        page, "complete", complete_lines(page, answer.complete, answer.incomplete_reasons)
    )
    return lines + _caveats(page, answer.caveats)


def gaps_lines(page: Page, gaps: Sequence[str]) -> list[str]:
    """Return what is missing of a recipe."""
    inner = page.inner()
    return labelled(page, "missing", [line for gap in gaps for line in wrap(inner, gap, 2)])
