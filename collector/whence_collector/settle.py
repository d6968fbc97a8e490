"""From holds and prices to the ledger: one step settles what has become certain since the last.

Runs on the writer thread inside its transaction. Decides nothing itself: attribution.py gives out
time, prices.py turns it into money. Entries are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from whence_collector.attribution import (
    Charge,
    Hold,
    Instance,
    Share,
    Timeline,
    Watched,
    attribute,
)
from whence_collector.price_book import PriceBookFile
from whence_collector.prices import PriceBook, charge, shares
from whence_collector.store import Writer

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
# A daemon tells of a release up to 2 s late where it had to look for it (bpf/gpu.bpf.c SETTLE_NS).
LAG_NS = 3 * SECOND_NS
# Marks of GPUs that were silent for longer do not keep the search for new slices back.
ACTIVE_NS = 30 * 24 * HOUR_NS
REPRICED_AT_ONCE = 20_000
MPS_SERVER = "nvidia-cuda-mps-server"

Gpu = tuple[int, str]  # host_id, gpu_uuid


@dataclass(slots=True)
class Settled:
    """What one step did."""

    entries: int = 0
    corrected: int = 0
    repriced: int = 0


@dataclass(frozen=True, slots=True)
class _Device:
    """What pricing needs of a GPU."""

    host: str
    model: str
    committed: frozenset[str]
    instances: tuple[Instance, ...]


@dataclass(slots=True)
class _Entries:
    """Columns of new ledger rows."""

    next_id: int
    now_ns: int
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, **values: object) -> None:
        row = {"entry_id": self.next_id, "written_ns": self.now_ns, **values}
        for name in LEDGER_COLUMNS:
            self.columns.setdefault(name, []).append(row.get(name))
        self.next_id += 1

    def __len__(self) -> int:
        return len(self.columns.get("entry_id", ()))


LEDGER_COLUMNS = (
    "entry_id", "entry_kind", "host_id", "gpu_uuid", "from_ns", "until_ns", "part", "process_id",
    "alloc_ns", "busy_ns", "micro_usd", "list_micro_usd", "price_id", "commitment", "method",
    "corrects_entry", "written_ns",
)  # fmt: skip


class Settler:
    """Brings the ledger level with what is known."""

    def __init__(self, prices: PriceBookFile) -> None:
        self.prices = prices
        self._reprice_from_ns: int | None = None  # charges from then on may have another price

    def has_work(self) -> bool:
        """Whether the price file changed, or charges still wait for their new price."""
        return self._reprice_from_ns is not None or self.prices.has_changed()

    def step(self, writer: Writer, now_ns: int) -> Settled:
        """Settle, correct and reprice what there is; cheap when there is nothing."""
        if self.prices.refresh(writer, now_ns):
            self._reprice_from_ns = 0
        done = Settled()
        due = _due(writer)
        if due or self._reprice_from_ns is not None:
            found = writer.rows("SELECT coalesce(max(entry_id), 0) + 1 FROM spend_ledger")
            entries = _Entries(int(found[0][0]), now_ns)
            devices = _devices(writer, self.prices.book)
            for gpu, (from_ns, until_ns, redone) in due.items():
                if redone:
                    done.corrected += _reverse(writer, gpu, from_ns, entries)
                self._charge(writer, gpu, (from_ns, until_ns), devices.get(gpu), entries)
            if self._reprice_from_ns is not None:
                done.repriced = self._reprice(writer, devices, entries)
            writer.append("spend_ledger", entries.columns)
            _save_marks(writer, due)
            done.entries = len(entries)
        return done

    def _charge(
        self, writer: Writer, gpu: Gpu, span: tuple[int, int], device: _Device | None,
        entries: _Entries,
    ) -> None:  # fmt: skip
        from_ns, until_ns = span
        if device is None:
            device = _Device("", "", frozenset(), ())
        hours = range(-(-from_ns // HOUR_NS) * HOUR_NS, until_ns, HOUR_NS)
        cuts = {*self.prices.book.cuts(from_ns, until_ns), *hours}
        timeline = _timeline(writer, gpu, span, device)
        for each in attribute(timeline, from_ns, until_ns, cuts):
            self._write(gpu, each, device, entries)

    def _write(self, gpu: Gpu, made: Charge, device: _Device, entries: _Entries) -> None:
        book = self.prices.book
        price = book.price_at(device.model, device.host, made.from_ns, committed=device.committed)
        times = [part.alloc_ns for part in made.parts]
        costs: Sequence[int | None] = [None] * len(times)
        listed: Sequence[int | None] = costs
        if price is not None:
            costs = shares(price.micro_usd(made.from_ns, made.until_ns), times)
            rate = price.list_nano_usd_per_gpu_hour or price.nano_usd_per_gpu_hour
            listed = shares(charge(rate, made.from_ns, made.until_ns), times)
        for part, cost, list_cost in zip(made.parts, costs, listed, strict=True):
            entries.add(
                entry_kind="charge",
                host_id=gpu[0],
                gpu_uuid=gpu[1],
                from_ns=made.from_ns,
                until_ns=made.until_ns,
                part=part.part,
                process_id=part.process_id,
                alloc_ns=part.alloc_ns,
                busy_ns=part.busy_ns,
                micro_usd=cost,
                list_micro_usd=list_cost,
                price_id=self.prices.ids[price] if price else None,
                commitment=price.commitment if price else None,
                method=part.method,
            )

    def _reprice(self, writer: Writer, devices: dict[Gpu, _Device], entries: _Entries) -> int:
        """Append the difference to what charges would cost now; at most some at once."""
        rows = writer.rows(
            "SELECT host_id, gpu_uuid, from_ns, until_ns, part, process_id, "
            "sum(alloc_ns), sum(micro_usd), sum(list_micro_usd), any_value(method) "
            "FROM spend_ledger WHERE from_ns >= ? GROUP BY ALL HAVING sum(alloc_ns) != 0 "
            "ORDER BY from_ns, host_id, gpu_uuid, until_ns, part, process_id LIMIT ?",
            (self._reprice_from_ns, REPRICED_AT_ONCE),
        )
        complete = len(rows) < REPRICED_AT_ONCE
        last_ns = rows[-1][2] if rows else 0
        if not complete:  # the last charges may be cut off: the next step begins with them
            rows = [row for row in rows if row[2] < last_ns] or rows
        before = len(entries)
        for key, parts in groupby(rows, key=lambda row: row[:4]):
            self._reprice_charge(key, list(parts), devices.get((key[0], key[1])), entries)
        self._reprice_from_ns = None if complete else last_ns
        return len(entries) - before

    def _reprice_charge(
        self, key: tuple[Any, ...], parts: list[tuple[Any, ...]], device: _Device | None,
        entries: _Entries,
    ) -> None:  # fmt: skip
        host_id, gpu_uuid, from_ns, until_ns = key
        if device is None:
            return
        book = self.prices.book
        price = book.price_at(device.model, device.host, from_ns, committed=device.committed)
        times = [int(row[6]) for row in parts]
        if price is None:
            costs, listed = [0] * len(parts), [0] * len(parts)
        else:
            rate = price.list_nano_usd_per_gpu_hour or price.nano_usd_per_gpu_hour
            costs = shares(_piecewise(book, device, from_ns, until_ns), times)
            listed = shares(charge(rate, from_ns, until_ns), times)
        for row, cost, list_cost in zip(parts, costs, listed, strict=True):
            if price is None and row[7] is None:
                continue
            differs = cost != int(row[7] or 0) or list_cost != int(row[8] or 0)
            if not differs and row[7] is not None:
                continue
            entries.add(
                entry_kind="price",
                host_id=host_id,
                gpu_uuid=gpu_uuid,
                from_ns=from_ns,
                until_ns=until_ns,
                part=row[4],
                process_id=row[5],
                alloc_ns=0,
                micro_usd=cost - int(row[7] or 0),
                list_micro_usd=list_cost - int(row[8] or 0),
                price_id=self.prices.ids[price] if price else None,
                commitment=price.commitment if price else None,
                method=row[9],
            )


def _piecewise(book: PriceBook, device: _Device, from_ns: int, until_ns: int) -> int:
    """Return what a stretch costs where prices change within it; an unpriced piece costs 0."""
    total = 0
    edges = [from_ns, *book.cuts(from_ns, until_ns), until_ns]
    for begin, end in pairwise(edges):
        price = book.price_at(device.model, device.host, begin, committed=device.committed)
        total += price.micro_usd(begin, end) if price else 0
    return total


def _due(writer: Writer) -> dict[Gpu, tuple[int, int, bool]]:
    """Return for each GPU with work to do: from, until, and whether it was charged before."""
    marks: dict[Gpu, int] = {
        (host, gpu): until
        for host, gpu, until in writer.rows("SELECT host_id, gpu_uuid, until_ns FROM gpu_settled")
    }
    newest = max(marks.values(), default=0)
    bound = min((at for at in marks.values() if at > newest - ACTIVE_NS), default=0)
    seen = writer.rows(
        "SELECT host_id, gpu_uuid, min(from_ns), max(until_ns) FROM gpu_slice "
        "WHERE until_ns > ? GROUP BY ALL",
        (bound,),
    )
    ends: dict[Gpu, list[int]] = {}
    for host, gpu, end_ns in writer.rows(
        "SELECT host_id, gpu_uuid, end_ns FROM gpu_hold WHERE end_ns > ? AND kind != 1", (bound,)
    ):
        ends.setdefault((host, gpu), []).append(end_ns)
    due: dict[Gpu, tuple[int, int, bool]] = {}
    for host, gpu, first_ns, last_ns in seen:
        mark: int = marks.get((host, gpu)) or first_ns
        until = _certain_until(last_ns, ends.get((host, gpu), ()))
        if until > mark:
            due[host, gpu] = (mark, until, False)
    redo = writer.rows("SELECT host_id, gpu_uuid, min(from_ns) FROM gpu_unsettled GROUP BY ALL")
    for host, gpu, from_ns in redo:
        settled = marks.get((host, gpu), 0)
        if from_ns < settled:
            begin = _charge_holding(writer, (host, gpu), from_ns)
            due[host, gpu] = (begin, max(settled, due.get((host, gpu), (0, 0))[1]), True)
    return due


def _certain_until(last_ns: int, ends: Iterable[int]) -> int:
    """Whole minutes, so that rows stay few; but a hold that ended is charged at once."""
    certain = last_ns - LAG_NS
    minute = certain // MINUTE_NS * MINUTE_NS
    return max([minute, *(end for end in ends if end <= certain)])


def _charge_holding(writer: Writer, gpu: Gpu, at_ns: int) -> int:
    """Return the begin of the charge that covers a time, or of the first one after it."""
    found = writer.rows(
        "SELECT min(from_ns) FROM (SELECT from_ns, until_ns FROM spend_ledger "
        "WHERE host_id = ? AND gpu_uuid = ? AND until_ns > ? GROUP BY ALL "
        "HAVING sum(alloc_ns) != 0)",
        (*gpu, at_ns),
    )
    return int(found[0][0]) if found[0][0] is not None else at_ns


def _reverse(writer: Writer, gpu: Gpu, from_ns: int, entries: _Entries) -> int:
    """Take back what was charged from a time on, by entries that undo it."""
    rows = writer.rows(
        "SELECT from_ns, until_ns, part, process_id, sum(alloc_ns), sum(busy_ns), sum(micro_usd), "
        "sum(list_micro_usd), max(price_id), max(commitment), any_value(method), max(entry_id) "
        "FROM spend_ledger WHERE host_id = ? AND gpu_uuid = ? AND from_ns >= ? "
        "GROUP BY from_ns, until_ns, part, process_id HAVING sum(alloc_ns) != 0",
        (*gpu, from_ns),
    )
    for row in rows:
        entries.add(
            entry_kind="reversal",
            host_id=gpu[0],
            gpu_uuid=gpu[1],
            from_ns=row[0],
            until_ns=row[1],
            part=row[2],
            process_id=row[3],
            alloc_ns=-int(row[4]),
            busy_ns=None if row[5] is None else -int(row[5]),
            micro_usd=None if row[6] is None else -int(row[6]),
            list_micro_usd=None if row[7] is None else -int(row[7]),
            price_id=row[8],
            commitment=row[9],
            method=row[10],
            corrects_entry=row[11],
        )
    return len(rows)


def _save_marks(writer: Writer, due: dict[Gpu, tuple[int, int, bool]]) -> None:
    writer.execute("DELETE FROM gpu_unsettled")
    if not due:
        return
    columns = {"host_id": [gpu[0] for gpu in due], "gpu_uuid": [gpu[1] for gpu in due]}
    writer.rows_with(
        columns,
        "DELETE FROM gpu_settled WHERE (host_id, gpu_uuid) IN "
        "(SELECT host_id, gpu_uuid FROM wanted)",
    )
    writer.append("gpu_settled", columns | {"until_ns": [span[1] for span in due.values()]})


def _devices(writer: Writer, book: PriceBook) -> dict[Gpu, _Device]:
    rows = writer.rows(
        "SELECT host_id, gpu_uuid, name, model, parent, compute_slices, memory_slices "
        "FROM gpu_device JOIN host USING (host_id) ORDER BY name, gpu_uuid"
    )
    instances: dict[Gpu, list[Instance]] = {}
    for host_id, uuid, _, _, parent, compute, memory in rows:
        if parent is not None:
            instances.setdefault((host_id, parent), []).append(
                Instance(uuid, compute or 0, memory or 0)
            )
    whole = [row for row in rows if row[4] is None]
    covered: dict[Gpu, set[str]] = {}
    for each in book.commitments:
        matching = [
            (row[0], row[1])
            for row in whole
            if each.price.matches(row[3] or "", row[2], each.from_ns)
        ]
        for gpu in matching[: each.gpu_count]:
            covered.setdefault(gpu, set()).add(each.commitment_id)
    return {
        (host_id, uuid): _Device(
            name,
            model or "",
            frozenset(covered.get((host_id, uuid), ())),
            tuple(instances.get((host_id, uuid), ())),
        )
        for host_id, uuid, name, model, *_ in whole
    }


def _serves(program: str) -> bool:
    """Tell whether a program is the server of MPS, which holds the GPU for its clients."""
    return program.rpartition("/")[2] == MPS_SERVER


def _timeline(writer: Writer, gpu: Gpu, span: tuple[int, int], device: _Device) -> Timeline:
    from_ns, until_ns = span
    watched = writer.rows(
        "SELECT from_ns, until_ns, busy_ns FROM gpu_slice WHERE host_id = ? AND gpu_uuid = ? "
        "AND until_ns > ? AND from_ns < ? ORDER BY from_ns",
        (*gpu, from_ns, until_ns),
    )
    holds = writer.rows(
        "SELECT process_id, g.start_ns, end_ns, kind = 3, coalesce(p.exe, '') "
        "FROM gpu_hold g LEFT JOIN process p USING (process_id) WHERE g.host_id = ? AND "
        "gpu_uuid = ? AND kind != 1 AND g.start_ns < ? AND coalesce(end_ns, ?) > ?",
        (*gpu, until_ns, until_ns + 1, from_ns),
    )
    names = [gpu[1], *(each.uuid for each in device.instances)]
    found = writer.rows_with(
        {"gpu_uuid": names},
        "SELECT process_id, from_ns, until_ns, sm_ppm, memory_bytes, gpu_uuid, mps FROM gpu_share "
        "JOIN wanted USING (gpu_uuid) WHERE host_id = ? AND until_ns > ? AND from_ns < ?",
        (gpu[0], from_ns, until_ns),
    )
    # A GPU in instances is registered whole: which one a process is in, only NVML's lists tell.
    places = {row[0]: row[5] for row in found if row[5] != gpu[1]}
    return Timeline(
        tuple(Watched(*row) for row in watched),
        tuple(
            Hold(row[0], row[1], row[2], row[3], places.get(row[0]), _serves(row[4]))
            for row in holds
        ),
        tuple(Share(row[0], row[1], row[2], row[3], row[4], row[6]) for row in found),
        device.instances,
    )
