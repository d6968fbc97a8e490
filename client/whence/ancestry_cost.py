"""What an artifact cost: its producing run and all that it came from, each run once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence.errors import NotFoundError, RefusedError
from whence.page import Page, labelled
from whence.render_spend import hours_text, usd_text
from whence.spend_client import SpendClient
from whence.text import count_text

if TYPE_CHECKING:
    from whence.client import Client
    from whence.model import Found
    from whence_proto.v1 import spend_pb2 as wire


def ancestry_cost(client: Client, found: Found) -> wire.SpendSum | None:
    """Return time and money of the first production's ancestry; None where nothing is known.

    Nothing is known where no host of the producing run watches GPUs, or the collector is older.
    """
    if not found.productions:
        return None
    asker, run_id = SpendClient(client), found.productions[0].run.run_id
    try:
        if not asker.cost([run_id]).known:
            return None
        above = client.lineage(run_id)
        answer = asker.cost([run_id, *(run.run_id for run in above.runs)])
    except (NotFoundError, RefusedError):
        return None
    return answer.sum


def cost_lines(page: Page, cost: wire.SpendSum | None) -> list[str]:
    """Return one line for people; none where nothing is known or nothing was used."""
    if cost is None or not cost.alloc_ns:
        return []
    money = usd_text(cost.micro_usd) + (" and unpriced time" if cost.unpriced_ns else "")
    runs = count_text(cost.runs, "run")
    text = f"{money} for {hours_text(cost.alloc_ns)} of GPU time in {runs}, ancestry included"
    return labelled(page, "cost", [text])
