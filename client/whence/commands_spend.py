"""What `whence spend` and `whence top` do: ask, set the answer, return the exit status."""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from whence import focus, render_spend
from whence.errors import MisuseError, UnreachableError
from whence.keys import quit_key
from whence.render_top import top_lines
from whence.spend_client import SpendClient, message_document
from whence.text import clean, since_unix_ns
from whence_proto.v1 import spend_pb2 as wire

if TYPE_CHECKING:
    from whence.client import Client
    from whence.desk import Desk

FOUND, NOT_FOUND = 0, 1
LEAST_PACE_S = 0.2
DEFAULT_ACCOUNT = "whence"


def run_spend(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell where GPU time and money went."""
    asker = SpendClient(client)
    scope = _scope(options, desk)
    if options.waste:
        return _waste(options, desk, asker, scope)
    if options.commitments:
        paid = asker.commitments(scope)
        if options.json:
            desk.hand_over(message_document(paid))
        else:
            desk.tell(render_spend.commitment_lines(desk.page, paid))
        return FOUND if paid.rows else NOT_FOUND
    if options.focus:
        return _focus(options, desk, asker, scope)
    answer = asker.report(scope, options.by, options.limit)
    if options.json:
        desk.hand_over({"by": options.by, **message_document(answer)})
    elif options.csv:
        csv.writer(desk.out, lineterminator="\n").writerows(
            render_spend.csv_rows(options.by, answer)
        )
    elif options.chart:
        desk.tell(render_spend.chart_lines(desk.page, options.by, answer))
    else:
        desk.tell(render_spend.spend_lines(desk.page, options.by, answer))
    return FOUND if answer.total.alloc_ns else NOT_FOUND


def _waste(
    options: argparse.Namespace, desk: Desk, asker: SpendClient, scope: wire.SpendScope
) -> int:
    answer = asker.waste(scope)
    if options.json:
        desk.hand_over(message_document(answer))
    else:
        desk.tell(render_spend.waste_lines(desk.page, answer))
    return FOUND if answer.rows else NOT_FOUND


def _focus(
    options: argparse.Namespace, desk: Desk, asker: SpendClient, scope: wire.SpendScope
) -> int:
    charges = list(asker.charges(scope))
    columns = focus.COLUMNS[options.focus]
    rows = list(focus.focus_rows(charges, options.focus, options.account or DEFAULT_ACCOUNT))
    if options.json:
        desk.hand_over(rows)
    else:
        writer = csv.DictWriter(desk.out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: clean(text) for name, text in row.items()} for row in rows)
    if left := len(charges) - len(rows):
        desk.remark(f"{left} charges have no price yet and are left out")
    return FOUND if rows else NOT_FOUND


def _scope(options: argparse.Namespace, desk: Desk) -> wire.SpendScope:
    return wire.SpendScope(
        since_unix_ns=_moment("--since", options.since, desk),
        until_unix_ns=_moment("--until", options.until, desk),
        user=options.user or "",
        project=options.project or "",
        host=options.host or "",
    )


def _moment(flag: str, text: str | None, desk: Desk) -> int:
    if text is None:
        return 0
    try:
        return since_unix_ns(text, desk.page.now_unix_ns)
    except ValueError:
        raise MisuseError(
            f"{flag} {text!r} is no time: write 30m, 2h, 3d or 2026-11-23T10:00"
        ) from None


# top ------------------------------------------------------------------------------------------


def run_top(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Show GPUs, holders and runs, again and again on a terminal."""
    if not options.every >= LEAST_PACE_S:
        raise MisuseError(f"--every {options.every:g} is too often: write {LEAST_PACE_S} or more")
    asker = SpendClient(client)
    if options.json:
        desk.hand_over(message_document(asker.now(options.host or "")))
        return FOUND
    if options.once or not desk.out.isatty():
        desk.tell(top_lines(desk.page, asker.now(options.host or ""), _load_lines()))
        return FOUND
    return _watch(options, desk, asker)


def _watch(options: argparse.Namespace, desk: Desk, asker: SpendClient) -> int:
    """Redraw until q or Ctrl-C; a collector that is away is waited for."""
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=desk.out, highlight=False)
    live = Live(console=console, screen=True, auto_refresh=False)
    with quit_key(desk.stdin) as pressed, live:
        ended = False
        while not ended:
            page = replace(desk.page, width=console.width, now_unix_ns=time.time_ns())
            try:
                lines = top_lines(page, asker.now(options.host or ""), _load_lines())
            except UnreachableError as error:
                lines = [f"whence top · {error}"]
            lines = [*lines[: max(console.height - 3, 1)], "", page.paint("q quits", "faint")]
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)
            ended = pressed(options.every)
    return FOUND


def _load_lines() -> list[str]:
    """Return the load of this host; it need not be the one that is asked about."""
    one, five, fifteen = os.getloadavg()
    cores = os.cpu_count() or 1
    return [f"this host: load {one:.2f} {five:.2f} {fifteen:.2f} on {cores} cores"]


RUNS: Mapping[str, Callable[[argparse.Namespace, Desk, Client], int]] = {
    "spend": run_spend,
    "top": run_top,
}
