"""Answers about money from the ledger: by a dimension, by waste, by commitment, by run."""

# ruff: noqa: S608 -- statements are put together from texts of this module alone

from __future__ import annotations

from typing import Any

from whence_collector.errors import InvalidRequest
from whence_collector.price_book import load_book
from whence_collector.spend_scope import (
    ALL_ENTRIES,
    ENTRIES,
    FOREVER_NS,
    SUMS,
    added,
    parameters,
    sum_of,
)
from whence_collector.store import Reader
from whence_proto.v1 import spend_pb2 as wire

# Dimension -> (what groups, what is shown beside it), over the columns of ENTRIES.
DIMENSIONS = {
    "user": ("coalesce(user_name, uid::VARCHAR)", "''"),
    "project": ("project", "''"),
    "run": ("run_id", "any_value(command)"),
    "model": ("model", "''"),
    "request": ("request_id", "''"),
    "agent": ("CASE WHEN principal_kind = 'agent' THEN principal END", "''"),
    "host": ("host", "''"),
    "day": ("strftime(make_timestamp(from_ns // 1000), '%Y-%m-%d')", "''"),
    "outcome": ("status", "''"),
}
# Every held nanosecond has the first class whose test is true.
WASTE_CLASS = """
CASE
    WHEN part = 'orphaned' THEN 'orphaned'
    WHEN asked.any_request AND request_id IS NULL THEN 'unrequested'
    WHEN repeat.run_id IS NOT NULL THEN 'repeated'
    WHEN status IN ('failed', 'killed') AND used.run_id IS NULL THEN 'failed'
    WHEN busy_ns * 100 < alloc_ns THEN 'idle'
    WHEN busy_ns IS NULL THEN 'unmeasured'
    ELSE 'productive'
END
"""
WASTE_ORDER = (
    "orphaned", "unrequested", "repeated", "failed", "idle", "unmeasured", "productive",
)  # fmt: skip
# A run repeats an earlier one that succeeded: the same command on the same clean commit and the
# same inputs by content. Only runs that held a GPU are compared.
WASTE = (
    ENTRIES
    + """
, spent AS (SELECT DISTINCT run_id FROM entry WHERE run_id IS NOT NULL),
content AS (
    SELECT run_id, list(DISTINCT artifact ORDER BY artifact) AS inputs
    FROM run_inputs
    WHERE class IN ('data', 'model', 'code', 'config') AND artifact IS NOT NULL
        AND run_id IN (SELECT run_id FROM spent)
    GROUP BY run_id
),
meaning AS (
    SELECT r.run_id, r.started_ns, r.status,
        hash(r.argv, r.git_commit, c.inputs) AS same
    FROM run r JOIN content c USING (run_id)
    WHERE NOT coalesce(r.git_dirty, false)
),
repeat AS (
    SELECT DISTINCT later.run_id
    FROM meaning later JOIN meaning first
        ON first.same = later.same AND first.started_ns < later.started_ns
        AND first.status = 'succeeded'
),
used AS (SELECT DISTINCT parent_run_id AS run_id FROM run_dependency),
asked AS (SELECT EXISTS (SELECT 1 FROM requests) AS any_request)
SELECT class, """
    + SUMS
    + """, arg_max(run_id, micro_usd), arg_max(command, micro_usd)
FROM (
    SELECT entry.*, """
    + WASTE_CLASS
    + """ AS class
    FROM entry
    CROSS JOIN asked
    LEFT JOIN repeat ON repeat.run_id = entry.run_id
    LEFT JOIN used ON used.run_id = entry.run_id
    WHERE part IN ('held', 'orphaned')
)
GROUP BY class
"""
)
CHARGES = (
    ENTRIES
    + """
SELECT
    min(from_ns), max(until_ns), host, gpu_uuid, any_value(model), part, run_id,
    any_value(command), any_value(user_name), any_value(project), any_value(e.request_id),
    any_value(principal_kind), sum(alloc_ns)::BIGINT,
    CASE WHEN count(*) = count(busy_ns) THEN sum(busy_ns) ELSE -1 END::BIGINT,
    CASE WHEN count(*) = count(micro_usd) THEN sum(micro_usd) ELSE -1 END::BIGINT,
    CASE WHEN count(*) = count(list_micro_usd) THEN sum(list_micro_usd) ELSE -1 END::BIGINT,
    coalesce(any_value(b.nano_usd_per_gpu_hour), -1),
    coalesce(any_value(coalesce(b.list_nano_usd_per_gpu_hour, b.nano_usd_per_gpu_hour)), -1),
    any_value(b.term), e.commitment, coalesce(e.price_id, 0), method
FROM entry e LEFT JOIN price_book b ON b.price_id = e.price_id
GROUP BY
    from_ns // 86400000000000, host, gpu_uuid, part, run_id, e.price_id, e.commitment, method
ORDER BY 1, host, gpu_uuid, part, run_id
"""
)


def report(reader: Reader, asked: wire.ReportSpendRequest) -> wire.ReportSpendResponse:
    """Sum by one dimension. Raises InvalidRequest for one that there is not."""
    if asked.by not in DIMENSIONS:
        known = ", ".join(DIMENSIONS)
        raise InvalidRequest(f"there is no spend by {asked.by!r}; ask by one of {known}")
    key, label = DIMENSIONS[asked.by]
    # Where something has no price, entries must be put together to know what was priced later.
    source = ENTRIES if _has_unpriced(reader) else ALL_ENTRIES
    rows = reader.rows(
        source + ", named AS (SELECT *, part IN ('held', 'orphaned') AS somebody FROM entry) "
        f"SELECT somebody, CASE WHEN somebody THEN {key} ELSE part END AS k, {label}, {SUMS} "
        "FROM named GROUP BY somebody, k HAVING sum(alloc_ns) != 0",
        parameters(asked.scope),
    )
    found = [
        wire.SpendRow(key=row[1] or "", label=row[2] or "", sum=sum_of(row[3:]))
        for row in rows
        if row[0]
    ]
    found.sort(key=_by_day if asked.by == "day" else _by_money)
    limit = asked.limit or len(found)
    nobody = {row[1]: sum_of(row[3:]) for row in rows if not row[0]}
    answer = wire.ReportSpendResponse(
        rows=found[:limit], idle=nobody.get("idle"), unwatched=nobody.get("unattributed")
    )
    answer.rest.CopyFrom(added([row.sum for row in found[limit:]]))
    answer.total.CopyFrom(added([*(row.sum for row in found), *nobody.values()]))
    answer.settled_unix_ns = _one(reader, "SELECT coalesce(max(until_ns), 0) FROM gpu_settled")
    return answer


def violations(reader: Reader) -> int:
    """Count charges that do not add up: takes a second for a million entries."""
    return _one(reader, "SELECT count(*) FROM spend_violations")


def _has_unpriced(reader: Reader) -> bool:
    return bool(reader.rows("SELECT 1 FROM spend_ledger WHERE micro_usd IS NULL LIMIT 1"))


def _by_money(row: wire.SpendRow) -> tuple[int, int, str]:
    return -row.sum.micro_usd, -row.sum.alloc_ns, row.key


def _by_day(row: wire.SpendRow) -> str:
    return row.key


def _nobody(reader: Reader, scope: wire.SpendScope) -> dict[str, wire.SpendSum]:
    """Sum what nobody held, and what nobody watched."""
    rows = reader.rows(
        ENTRIES + f"SELECT part, {SUMS} FROM entry GROUP BY part",
        parameters(scope),
    )
    sums = {row[0]: sum_of(row[1:]) for row in rows}
    empty = wire.SpendSum()
    return {"idle": sums.get("idle", empty), "unwatched": sums.get("unattributed", empty)}


def _one(reader: Reader, sql: str) -> int:
    return int(reader.rows(sql)[0][0])


def waste(reader: Reader, asked: wire.ReportWasteRequest) -> wire.ReportWasteResponse:
    """Classify held time."""
    rows = {row[0]: row for row in reader.rows(WASTE, parameters(asked.scope))}
    found = [
        wire.WasteRow(
            **{"class": name},
            sum=sum_of(rows[name][1:8]),
            run_id=rows[name][8] or "",
            command=rows[name][9] or "",
        )
        for name in WASTE_ORDER
        if name in rows
    ]
    nobody = _nobody(reader, asked.scope)
    return wire.ReportWasteResponse(rows=found, idle=nobody["idle"], unwatched=nobody["unwatched"])


def commitments(
    reader: Reader, asked: wire.ReportCommitmentsRequest, now_ns: int
) -> wire.ReportCommitmentsResponse:
    """Say of each commitment what the time bears of it, and what was used."""
    scope = asked.scope
    since_ns, until_ns = scope.since_unix_ns, min(scope.until_unix_ns or FOREVER_NS, now_ns)
    book, _ = load_book(reader)
    used: dict[str, int | None] = dict(
        reader.rows(
            "SELECT commitment, sum(micro_usd)::BIGINT FROM spend_net WHERE commitment IS NOT NULL "
            "AND part IN ('held', 'orphaned') AND from_ns >= ? AND from_ns < ? GROUP BY 1",
            (since_ns, until_ns),
        )
    )
    found = []
    for each in sorted(book.commitments, key=lambda each: each.commitment_id):
        begin, end = max(each.from_ns, since_ns), min(each.until_ns, until_ns)
        if begin >= end:
            continue
        paid, spent = each.paid_micro_usd(begin, end), int(used.get(each.commitment_id) or 0)
        found.append(
            wire.CommitmentRow(
                commitment=each.commitment_id,
                paid_micro_usd=paid,
                used_micro_usd=spent,
                unused_micro_usd=paid - spent,
                gpu_count=each.gpu_count,
                gpu_model=each.gpu_model,
                from_unix_ns=begin,
                until_unix_ns=end,
            )
        )
    return wire.ReportCommitmentsResponse(rows=found)


def cost_of_runs(reader: Reader, asked: wire.CostRunsRequest) -> wire.CostRunsResponse:
    """Sum what runs had, each once."""
    wanted = sorted(set(asked.run_ids))
    if not wanted:
        return wire.CostRunsResponse()
    marks = ", ".join("?" * len(wanted))
    rows = reader.rows(
        f"WITH entry AS (SELECT s.*, p.run_id FROM spend_net s "
        f"JOIN process_run p USING (process_id) WHERE p.run_id IN ({marks})) "
        f"SELECT {SUMS} FROM entry",
        wanted,
    )
    known = reader.rows(
        f"SELECT count(*) FROM run JOIN gpu_device USING (host_id) WHERE run_id IN ({marks})",
        wanted,
    )
    return wire.CostRunsResponse(sum=sum_of(rows[0]), known=bool(known[0][0]))


def charges(reader: Reader, asked: wire.ExportChargesRequest) -> list[wire.ChargeRow]:
    """Return what each run had of each GPU in each UTC day, at each price."""
    return [_charge_row(row) for row in reader.rows(CHARGES, parameters(asked.scope))]


_CHARGE_FIELDS = (
    "from_unix_ns", "until_unix_ns", "host", "gpu_uuid", "gpu_model", "part", "run_id", "command",
    "user", "project", "request_id", "principal_kind", "alloc_ns", "busy_ns", "micro_usd",
    "list_micro_usd", "nano_usd_per_gpu_hour", "list_nano_usd_per_gpu_hour", "term", "commitment",
    "price_id", "method",
)  # fmt: skip


def _charge_row(row: tuple[Any, ...]) -> wire.ChargeRow:
    known = {
        name: value for name, value in zip(_CHARGE_FIELDS, row, strict=True) if value is not None
    }
    return wire.ChargeRow(**known)
