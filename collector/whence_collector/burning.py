"""What burns money at this moment: open holds with their runs, prices and how far the ledger is.

Reads only.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.price_book import load_book
from whence_collector.prices import PriceBook

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from whence_collector.store import Reader

HOUR_NS = 3_600_000_000_000
NANO_PER_MICRO = 1_000
OPEN_HOLDS = """
SELECT p.run_id, h.name, g.gpu_uuid, coalesce(d.model, ''), g.start_ns,
    greatest(coalesce(s.until_ns, 0), g.start_ns)
FROM gpu_hold g
JOIN host h USING (host_id)
LEFT JOIN process_run p ON p.process_id = g.process_id
LEFT JOIN gpu_device d ON d.host_id = g.host_id AND d.gpu_uuid = g.gpu_uuid
LEFT JOIN gpu_settled s ON s.host_id = g.host_id AND s.gpu_uuid = g.gpu_uuid
WHERE g.end_ns IS NULL AND g.kind IN (2, 3)
"""
# Names under which a price book may have what people call "H100".
MAKERS = ("", "NVIDIA ", "AMD ", "Tesla ")
ENDINGS = ("", " 80GB HBM3", " SXM", "-SXM5-80GB", " PCIe")


@dataclass(frozen=True, slots=True)
class Burn:
    """One run on one GPU now: micro-dollars an hour, and until when the ledger has it."""

    run_id: str | None
    host: str
    gpu_uuid: str
    gpu_model: str
    from_ns: int
    settled_ns: int
    micro_usd_per_hour: int

    def unsettled_micro_usd(self, now_ns: int) -> int:
        """Return what it cost since the ledger's last entry."""
        return max(0, now_ns - self.settled_ns) * self.micro_usd_per_hour // HOUR_NS


def burning(reader: Reader, now_ns: int) -> list[Burn]:
    """Return who holds which GPU now; runs that share one share its price."""
    rows = reader.rows(OPEN_HOLDS)
    if not rows:
        return []
    book, _ = load_book(reader)
    holders: defaultdict[tuple[str, str], set[str | None]] = defaultdict(set)
    for run_id, host, gpu, *_ in rows:
        holders[host, gpu].add(run_id)
    found: dict[tuple[str | None, str, str], Burn] = {}
    for run_id, host, gpu, model, start_ns, settled_ns in rows:
        key = (run_id, host, gpu)
        if key in found and found[key].from_ns <= start_ns:
            continue
        price = book.price_at(model, host, now_ns)
        rate = price.nano_usd_per_gpu_hour // NANO_PER_MICRO if price is not None else 0
        found[key] = Burn(
            run_id, host, gpu, model, start_ns, settled_ns, rate // len(holders[host, gpu])
        )
    return list(found.values())


def of_runs(burns: Sequence[Burn], run_ids: Collection[str]) -> list[Burn]:
    """Return those of some runs."""
    return [burn for burn in burns if burn.run_id in run_ids]


def price_of(book: PriceBook, gpu_model: str, now_ns: int) -> tuple[int, str] | None:
    """Return nano-dollars for a GPU-hour of a model as people call it, and the row in words."""
    for maker in MAKERS:
        for ending in ENDINGS:
            price = book.price_at(f"{maker}{gpu_model}{ending}", "*", now_ns)
            if price is not None:
                return price.nano_usd_per_gpu_hour, f"{price.gpu_model}, {price.term}"
    return None
