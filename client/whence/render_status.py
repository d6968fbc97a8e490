"""The collector's state and doctor's checklist → lines for people. Pure; texts must be cleaned."""

from __future__ import annotations

from collections.abc import Sequence

from whence.doctor import Check
from whence.model import Daemon, Status
from whence.page import Cell, Column, Page, columns, labelled, wrap
from whence.text import ago_text, count_text, duration_text, size_text

_DAEMON_COLUMNS = (
    Column("HOST", shrink=True),
    Column("STREAM"),
    Column("LAST BATCH"),
    Column("LOST", right=True),
    Column("VERSION"),
    Column("KERNEL", shrink=True),
    Column("BACK END"),
)


def status_lines(page: Page, status: Status, address: str) -> list[str]:
    """Return how the collector and its daemons are."""
    inner = page.inner()
    words = f"version {status.version} at {address}, schema {status.schema_version}"
    lines = labelled(page, "collector", wrap(inner, words))
    trouble = f"commits fail: {status.storage_error}" if status.storage_error else ""
    free = f"{size_text(status.disk_free_bytes)} free"
    storage = [page.paint(line, "bad") for line in wrap(inner, trouble)] if trouble else [free]
    lines += labelled(page, "storage", storage)
    rows = [f"{count:,} {name}" for name, count in sorted(status.rows.items())]
    lines += labelled(page, "rows", wrap(inner, ", ".join(rows), 4) if rows else [])
    lines += ["", *_daemon_lines(page, status.daemons)]
    for daemon in status.daemons:
        lines += _missing_lines(page, daemon)
        lines += _proof_lines(page, daemon)
    return lines


def _daemon_lines(page: Page, daemons: Sequence[Daemon]) -> list[str]:
    if not daemons:
        return ["no daemon has ever connected: start one with `make up` on a host"]
    return columns(page, _DAEMON_COLUMNS, [_daemon_cells(page, daemon) for daemon in daemons])


def _daemon_cells(page: Page, daemon: Daemon) -> list[Cell]:
    last = daemon.last_batch_unix_ns
    return [
        Cell(daemon.host, "strong"),
        Cell("open", "good") if daemon.connected else Cell("closed", "bad"),
        Cell("never" if last is None else ago_text(last, page.now_unix_ns)),
        Cell(f"{daemon.lost:,}", "bad" if daemon.lost else "plain"),
        Cell(daemon.daemon_version),
        Cell(daemon.kernel),
        Cell(daemon.back_end),
    ]


def _missing_lines(page: Page, daemon: Daemon) -> list[str]:
    if not daemon.missing_capabilities:
        return []
    missing = ", ".join(daemon.missing_capabilities)
    return wrap(page, f"{daemon.host} lacks {missing}: `whence doctor` there names the remedy")


def _proof_lines(page: Page, daemon: Daemon) -> list[str]:
    """Return what is wrong with the canary, and the last time that nobody observed the host."""
    lines = []
    if daemon.canary_trouble:
        trouble = f"{daemon.host}: {daemon.canary_trouble}: `whence doctor` there says more"
        lines += [page.paint(line, "bad") for line in wrap(page, trouble)]
    for time in daemon.unobserved[:1]:
        length = duration_text(time.until_unix_ns - time.from_unix_ns)
        ago = ago_text(time.until_unix_ns, page.now_unix_ns)
        words = f"{daemon.host} was not observed for {length}, until {ago}: {time.reason}"
        lines += wrap(page, words)
    return lines


def checklist_lines(page: Page, checks: Sequence[Check]) -> list[str]:
    """Return the checklist: a mark, what was checked, what was found, and the remedy below it."""
    lines = []
    name_cells = max((len(check.name) for check in checks), default=0)
    part = ""
    for check in checks:
        if check.part != part:
            part = check.part
            lines.append(page.paint(part, "strong"))
        lines += _check_lines(page, check, min(name_cells, 24))
    wrong = sum(1 for check in checks if not check.ok and check.required)
    verdict = "all is well" if not wrong else f"{count_text(wrong, 'thing')} to put right"
    return [*lines, "", page.paint(verdict, "good" if not wrong else "bad")]


def _check_lines(page: Page, check: Check, name_cells: int) -> list[str]:
    mark = page.paint("✓", "good") if check.ok else page.paint("✗", "bad")
    mark = page.paint("!", "odd") if not check.ok and not check.required else mark
    indent = 4 + name_cells + 2
    inner = page.inner(indent)
    body = wrap(inner, check.detail)
    head = f"  {mark} {check.name.ljust(name_cells)}  {body[0]}".rstrip()
    lines = [head, *(" " * indent + line for line in body[1:])]
    if check.ok or not check.remedy:
        return lines
    return lines + [" " * indent + line for line in wrap(inner, f"→ {check.remedy}")]
