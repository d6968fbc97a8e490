"""What `whence top` shows, as lines of one screen. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence.page import Cell, Column, Look, Page, columns
from whence.render_spend import usd_text
from whence.text import age_text, brief_command, count_text, safe, short_run, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_proto.v1 import spend_pb2 as wire

_STALE_NS = 30 * 10**9


def top_lines(page: Page, now: wire.ShowNowResponse, load: Sequence[str] = ()) -> list[str]:
    """Return GPUs with their holders and what they burn, then the runs that go on."""
    lines = [page.clip(page.paint(_summary(page, now), "strong")), *load]
    if now.gpus:
        lines += ["", *_gpu_lines(page, now.gpus)]
    lines.append("")
    if now.runs:
        lines += _run_lines(page, now.runs)
    else:
        lines.append(page.paint("no run goes on", "faint"))
    return lines


def _summary(page: Page, now: wire.ShowNowResponse) -> str:
    runs = count_text(len(now.runs), "run")
    if not now.gpus:
        return f"whence top · no GPU is watched · {runs}"
    held = sum(bool(gpu.holders) for gpu in now.gpus)
    burn = f" · {usd_text(now.burn_micro_usd_per_hour)} an hour"
    orphans = sum(any(each.orphaned for each in gpu.holders) for gpu in now.gpus)
    told = f" · {count_text(orphans, 'orphan')}" if orphans else ""
    return f"whence top · {held} of {count_text(len(now.gpus), 'GPU')} held · {runs}{burn}{told}"


def _gpu_lines(page: Page, gpus: Sequence[wire.GpuNow]) -> list[str]:
    kinds = (
        Column("GPU", shrink=True, least=6), Column("busy", right=True),
        Column("memory", right=True), Column("run"), Column("user", shrink=True, least=4),
        Column("project", shrink=True, least=4), Column("command", shrink=True, least=8),
        Column("since", right=True), Column("$/h", right=True),
    )  # fmt: skip
    hosts = {gpu.host for gpu in gpus}
    rows: list[list[Cell]] = []
    for gpu in gpus:
        number = "?" if gpu.nvml_index < 0 else str(gpu.nvml_index)
        name = f"{safe(gpu.host)} {number}" if len(hosts) > 1 else f"{number} {_short(gpu.model)}"
        stale = page.now_unix_ns - gpu.watched_unix_ns > _STALE_NS
        busy = "?" if gpu.busy_percent < 0 or stale else f"{gpu.busy_percent} %"
        memory = "?" if gpu.memory_used_bytes < 0 else size_text(gpu.memory_used_bytes)
        price = "?" if gpu.micro_usd_per_hour < 0 else f"{gpu.micro_usd_per_hour / 1e6:.2f}"
        head = [Cell(name, "faint" if stale else "plain"), Cell(busy), Cell(memory)]
        if not gpu.holders:
            rows.append([*head, *[Cell("")] * 3, Cell("idle", "faint"), Cell(""), Cell(price)])
        for at, each in enumerate(gpu.holders):
            start = head if at == 0 else [Cell("")] * 3
            rows.append([*start, *_holder(page, each), Cell(price if at == 0 else "")])
    return columns(page, kinds, rows)


def _holder(page: Page, holder: wire.HolderNow) -> list[Cell]:
    look: Look = "bad" if holder.orphaned else "plain"
    told = brief_command(safe(holder.command)) or f"pid {holder.pid}"
    return [
        Cell(short_run(holder.run_id) if holder.run_id else "?", look),
        Cell(safe(holder.user)),
        Cell(safe(holder.project)),
        Cell(f"ORPHAN {told}" if holder.orphaned else told, look),
        Cell(age_text(holder.since_unix_ns, page.now_unix_ns)),
    ]


def _run_lines(page: Page, runs: Sequence[wire.RunNow]) -> list[str]:
    kinds = (
        Column("run"), Column("user", shrink=True, least=4),
        Column("project", shrink=True, least=4), Column("command", shrink=True, least=8),
        Column("programs", right=True), Column("read", right=True),
        Column("wrote", right=True), Column("since", right=True),
    )  # fmt: skip
    rows = [
        [
            Cell(short_run(run.run_id)),
            Cell(safe(run.user)),
            Cell(safe(run.project)),
            Cell(brief_command(safe(run.command))),
            Cell(str(run.processes)),
            Cell(f"{run.files_read:,}"),
            Cell(f"{run.files_written:,}"),
            Cell(age_text(run.started_unix_ns, page.now_unix_ns)),
        ]
        for run in runs
    ]
    return columns(page, kinds, rows)


def _short(model: str) -> str:
    return safe(model).removeprefix("NVIDIA ")
