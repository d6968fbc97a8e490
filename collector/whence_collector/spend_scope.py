"""What part of the ledger a question is about: scope to SQL, and sums that every answer gives."""

from __future__ import annotations

from typing import Any

from whence_collector.errors import InvalidRequest
from whence_proto.v1 import spend_pb2 as wire

FOREVER_NS = 1 << 62

_ENTRY = """
WITH entry AS (
    SELECT
        s.host_id, s.gpu_uuid, s.from_ns, s.until_ns, s.part, s.process_id, s.alloc_ns, s.busy_ns,
        s.micro_usd, s.list_micro_usd, s.price_id, s.commitment, s.method,
        h.name AS host, d.model, r.run_id, r.command, r.user_name, r.uid,
        coalesce(t.project, r.project) AS project, r.request_id,
        r.status, r.principal_kind, r.principal
    FROM {source} s
    JOIN host h ON h.host_id = s.host_id
    LEFT JOIN gpu_device d ON d.host_id = s.host_id AND d.gpu_uuid = s.gpu_uuid
    LEFT JOIN process_run p ON p.process_id = s.process_id
    LEFT JOIN run r ON r.run_id = p.run_id
    LEFT JOIN run_project t ON t.run_id = p.run_id
    WHERE s.from_ns >= ? AND s.from_ns < ?
        AND (? = '' OR r.user_name = ? OR r.uid::VARCHAR = ?)
        AND (? = '' OR coalesce(t.project, r.project) = ?)
        AND (? = '' OR h.name = ?)
)
"""
# One row for each part of each charge that stands, with the run that it belongs to.
ENTRIES = _ENTRY.format(source="spend_net")
# Every entry as it was written: sums are the same, and nothing has to be put together for them.
ALL_ENTRIES = _ENTRY.format(source="spend_ledger")
# Corrections of prices have no time, and so say nothing of what was busy. What has no price yet is
# asked for apart: an entry does not know whether it was priced later.
SUMS = """
    coalesce(sum(alloc_ns), 0)::BIGINT,
    CASE WHEN count(*) FILTER (alloc_ns != 0) = count(busy_ns) FILTER (alloc_ns != 0)
        THEN coalesce(sum(busy_ns), 0) ELSE -1 END::BIGINT,
    coalesce(sum(micro_usd), 0)::BIGINT,
    coalesce(sum(list_micro_usd), 0)::BIGINT,
    coalesce(sum(alloc_ns) FILTER (micro_usd IS NULL), 0)::BIGINT,
    coalesce(sum(alloc_ns) FILTER (part = 'orphaned'), 0)::BIGINT,
    count(DISTINCT run_id)::INTEGER
"""
SUM_COLUMNS = 7


def parameters(scope: wire.SpendScope) -> tuple[Any, ...]:
    """Return the parameters of ENTRIES. Raises InvalidRequest for a time that ends first."""
    until_ns = scope.until_unix_ns or FOREVER_NS
    if until_ns <= scope.since_unix_ns:
        raise InvalidRequest("the time ends before it begins; exchange --since and --until")
    return (
        scope.since_unix_ns, until_ns,
        scope.user, scope.user, scope.user,
        scope.project, scope.project,
        scope.host, scope.host,
    )  # fmt: skip


def sum_of(row: tuple[Any, ...]) -> wire.SpendSum:
    """Turn the columns of SUMS into their message."""
    return wire.SpendSum(
        alloc_ns=row[0],
        busy_ns=row[1],
        micro_usd=row[2],
        list_micro_usd=row[3],
        unpriced_ns=row[4],
        orphaned_ns=row[5],
        runs=row[6],
    )


def added(sums: list[wire.SpendSum]) -> wire.SpendSum:
    """Add sums up; runs may be counted in several and are left out."""
    busy = -1 if any(each.busy_ns < 0 for each in sums) else sum(each.busy_ns for each in sums)
    return wire.SpendSum(
        alloc_ns=sum(each.alloc_ns for each in sums),
        busy_ns=busy,
        micro_usd=sum(each.micro_usd for each in sums),
        list_micro_usd=sum(each.list_micro_usd for each in sums),
        unpriced_ns=sum(each.unpriced_ns for each in sums),
        orphaned_ns=sum(each.orphaned_ns for each in sums),
    )
