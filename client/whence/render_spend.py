"""GPU time and money as text: tables, bars, waste, commitments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from whence.page import Cell, Column, Look, Page, columns
from whence.text import ago_text, brief_command, clip, safe, short_run

if TYPE_CHECKING:
    from whence_proto.v1 import spend_pb2 as wire

_HOUR_NS: Final = 3_600_000_000_000
_MICRO: Final = 1_000_000
_NOBODY: Final = {
    "user": "unknown user", "project": "no project", "run": "unknown run",
    "model": "unknown model", "request": "no request", "agent": "no agent",
    "host": "unknown host", "day": "unknown day", "outcome": "unknown outcome",
}  # fmt: skip
_WASTE: Final[dict[str, tuple[str, Look]]] = {
    "orphaned": ("process gone, GPU still held", "bad"),
    "unrequested": ("no training request", "odd"),
    "repeated": ("the same had succeeded before", "odd"),
    "failed": ("failed, and nothing used what it wrote", "bad"),
    "idle": ("held, but under 1 % busy", "odd"),
    "unmeasured": ("held; activity not known", "faint"),
    "productive": ("held and busy", "good"),
}
_BAR: Final = "█"
_LEAST_BAR: Final = 10


def usd_text(micro_usd: int) -> str:
    """Return dollars with cents; with what is below a cent where that is all."""
    sign, amount = ("-" if micro_usd < 0 else ""), abs(micro_usd)
    if amount and amount < 10_000:
        return f"{sign}${amount / _MICRO:.6f}".rstrip("0")
    cents = (amount + 5_000) // 10_000
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def hours_text(span_ns: int) -> str:
    """Return GPU-hours; seconds where it is less than six minutes."""
    if abs(span_ns) < _HOUR_NS // 10:
        return f"{span_ns / 1e9:.1f} s"
    return f"{span_ns / _HOUR_NS:,.1f} h"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def _busy(sum_: wire.SpendSum) -> str:
    return "?" if sum_.busy_ns < 0 else _percent(sum_.busy_ns, sum_.alloc_ns)


def _cost(sum_: wire.SpendSum) -> str:
    if sum_.unpriced_ns and not sum_.micro_usd:
        return "unpriced"
    return usd_text(sum_.micro_usd) + ("+" if sum_.unpriced_ns else "")


def key_text(by: str, row: wire.SpendRow) -> str:
    """Return what a row is called."""
    if not row.key:
        return _NOBODY[by]
    if by == "run":
        return f"{short_run(row.key)}  {brief_command(safe(row.label))}"
    return safe(row.key)


def spend_lines(page: Page, by: str, answer: wire.ReportSpendResponse) -> list[str]:
    """Return the table of one dimension, what nobody held, and the total."""
    if not answer.total.alloc_ns:
        return nothing_lines(answer)
    kinds = (
        Column(by, shrink=True), Column("GPU time", right=True), Column("busy", right=True),
        Column("cost", right=True), Column("share", right=True),
    )  # fmt: skip
    total = answer.total
    rows = [_row(key_text(by, row), row.sum, total) for row in answer.rows]
    for name, sum_ in (("others", answer.rest), ("idle: nobody held it", answer.idle),
                       ("unwatched", answer.unwatched)):  # fmt: skip
        if sum_.alloc_ns:
            rows.append(_row(name, sum_, total, "faint"))
    rows.append(_row("total", total, total, "strong"))
    return [*columns(page, kinds, rows), *_remarks(page, answer)]


def _row(name: str, sum_: wire.SpendSum, total: wire.SpendSum, look: Look = "plain") -> list[Cell]:
    share = (
        _percent(sum_.micro_usd, total.micro_usd)
        if total.micro_usd
        else _percent(sum_.alloc_ns, total.alloc_ns)
    )
    texts = (name, hours_text(sum_.alloc_ns), _busy(sum_), _cost(sum_), share)
    return [Cell(text, look) for text in texts]


def nothing_lines(answer: wire.ReportSpendResponse) -> list[str]:
    """Say why there is nothing to show."""
    if not answer.settled_unix_ns:
        return ["No GPU time is known: no host with a GPU has reported (see `whence doctor`)."]
    return ["No GPU time in that range."]


def _remarks(page: Page, answer: wire.ReportSpendResponse) -> list[str]:
    remarks = [f"complete up to {ago_text(answer.settled_unix_ns, page.now_unix_ns)}"]
    if answer.total.unpriced_ns:
        remarks.append(
            f"{hours_text(answer.total.unpriced_ns)} have no price yet: add one to the price file"
        )
    if answer.total.orphaned_ns:
        remarks.append(f"{hours_text(answer.total.orphaned_ns)} held by processes that had ended")
    lines = [page.paint(each, "faint") for each in remarks]
    if answer.violations:
        text = f"{answer.violations} charges do not add up: see the view spend_violations"
        lines.append(page.paint(text, "bad"))
    return lines


def chart_lines(page: Page, by: str, answer: wire.ReportSpendResponse) -> list[str]:
    """Return a bar for each row, as long as its money, or its time where nothing has a price."""
    if not answer.total.alloc_ns:
        return nothing_lines(answer)
    rows = [(key_text(by, row), row.sum, "plain") for row in answer.rows]
    rows += [(name, sum_, "faint") for name, sum_ in (("idle", answer.idle),
             ("unwatched", answer.unwatched)) if sum_.alloc_ns]  # fmt: skip
    priced = any(sum_.micro_usd for _, sum_, _ in rows)
    amounts = [sum_.micro_usd if priced else sum_.alloc_ns for _, sum_, _ in rows]
    width = page.width or 80
    names = [clip(name, max(12, width // 3)) for name, _, _ in rows]
    name_cells = max(map(len, names))
    texts = [_cost(sum_) if priced else hours_text(sum_.alloc_ns) for _, sum_, _ in rows]
    text_cells = max(map(len, texts))
    room = max(_LEAST_BAR, width - name_cells - text_cells - 4)
    most = max([*amounts, 1])
    lines = []
    for name, amount, text, (_, _, look) in zip(names, amounts, texts, rows, strict=True):
        bar = _BAR * max(int(amount > 0), amount * room // most)
        shown: Look = "good" if look == "plain" else "faint"
        lines.append(
            f"{name:{name_cells}}  {page.paint(bar, shown)}{' ' * (room - len(bar))}  "
            f"{text:>{text_cells}}".rstrip()
        )
    return [*lines, *_remarks(page, answer)]


def waste_lines(page: Page, answer: wire.ReportWasteResponse) -> list[str]:
    """Return held time by class, worst first."""
    held_ns = sum(row.sum.alloc_ns for row in answer.rows)
    if not held_ns:
        return ["No GPU was held in that range."]
    kinds = (
        Column("class"), Column("meaning", shrink=True), Column("GPU time", right=True),
        Column("cost", right=True), Column("share", right=True), Column("worst run", shrink=True),
    )  # fmt: skip
    rows = []
    for row in answer.rows:
        name = getattr(row, "class")
        meaning, look = _WASTE[name]
        run = f"{short_run(row.run_id)} {brief_command(safe(row.command))}" if row.run_id else ""
        rows.append(
            [
                Cell(name, look),
                Cell(meaning, "faint"),
                Cell(hours_text(row.sum.alloc_ns)),
                Cell(_cost(row.sum)),
                Cell(_percent(row.sum.alloc_ns, held_ns)),
                Cell(run),
            ]
        )
    lines = columns(page, kinds, rows)
    for text, sum_ in (("nobody held", answer.idle), ("nobody watched", answer.unwatched)):
        if sum_.alloc_ns:
            told = f"besides, {text} {hours_text(sum_.alloc_ns)}, {_cost(sum_)}"
            lines.append(page.paint(told, "faint"))
    return lines


def commitment_lines(page: Page, answer: wire.ReportCommitmentsResponse) -> list[str]:
    """Return what each commitment paid for."""
    if not answer.rows:
        return ["No commitment in that range: the price file says how to write one."]
    kinds = (
        Column("commitment"), Column("GPUs", right=True), Column("model", shrink=True),
        Column("paid", right=True), Column("used", right=True), Column("unused", right=True),
        Column("use", right=True),
    )  # fmt: skip
    rows: list[Sequence[Cell]] = [
        [
            Cell(safe(row.commitment)),
            Cell(str(row.gpu_count)),
            Cell(safe(row.gpu_model)),
            Cell(usd_text(row.paid_micro_usd)),
            Cell(usd_text(row.used_micro_usd)),
            Cell(usd_text(row.unused_micro_usd), "odd"),
            Cell(_percent(row.used_micro_usd, row.paid_micro_usd)),
        ]
        for row in answer.rows
    ]
    return columns(page, kinds, rows)


CSV_COLUMNS: Final = (
    "gpu_seconds", "busy_seconds", "cost_usd", "list_cost_usd", "unpriced_gpu_seconds",
    "orphaned_gpu_seconds",
)  # fmt: skip


def csv_rows(by: str, answer: wire.ReportSpendResponse) -> list[list[str]]:
    """Return a heading and rows; exact decimals, empty where unknown. The rows add up."""
    rows = [[by, *CSV_COLUMNS]]
    named = [(row.key, row.sum) for row in answer.rows]
    named += [("(others)", answer.rest), ("(idle)", answer.idle), ("(unwatched)", answer.unwatched)]
    for name, sum_ in named:
        if not sum_.alloc_ns and name.startswith("("):
            continue
        rows.append(
            [
                _inert(name),
                decimal(sum_.alloc_ns, 9),
                "" if sum_.busy_ns < 0 else decimal(sum_.busy_ns, 9),
                decimal(sum_.micro_usd, 6),
                decimal(sum_.list_micro_usd, 6),
                decimal(sum_.unpriced_ns, 9),
                decimal(sum_.orphaned_ns, 9),
            ]
        )
    return rows


def decimal(value: int, places: int) -> str:
    """Return a whole number divided by a power of ten, exactly."""
    whole, rest = divmod(abs(value), 10**places)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{places}d}"


def _inert(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
