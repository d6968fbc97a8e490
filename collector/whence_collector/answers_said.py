"""What is said of runs, and what they measured, as messages. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.lookups import where_in
from whence_proto.v1 import tags_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whence_collector.store import Reader, Row

RUN_TAGS = """
SELECT subject_kind, subject, key, value, false, inherit, who, proven, at_ns, run_id FROM run_label
"""
METRICS = """
SELECT name, arg_max(value, at_ns), arg_max(step, at_ns), max(at_ns), count(*), min(value),
    max(value)
FROM metric WHERE process_id IN (SELECT unnest(?::BIGINT[])) GROUP BY name ORDER BY name
"""


def entry_of(row: Row, inherited_from: str | None = None) -> wire.TagEntry:
    """Return a row of tag_statement as a message."""
    subject_kind, subject, key, value, removed, inherit, who, proven, at_ns = row
    return wire.TagEntry(
        subject_kind=subject_kind,
        subject=subject,
        key=key,
        value=value,
        removed=removed,
        inherit=inherit,
        who=who,
        proven=proven,
        at_unix_ns=at_ns,
        inherited_from=inherited_from,
    )


def tags_of_runs(reader: Reader, run_ids: list[str]) -> list[wire.TagEntry]:
    """Return what stands of runs, each statement once."""
    rows = [tuple(row) for *row, _ in where_in(reader, RUN_TAGS, "run_id", run_ids)]
    return [entry_of(row) for row in sorted(set(rows), key=lambda row: (row[2], -row[8]))]


def metrics_of(reader: Reader, process_ids: Iterable[int]) -> list[wire.Metric]:
    """Return what processes measured, by name, with the value that came last."""
    return [
        wire.Metric(
            name=name,
            value=value,
            step=step,
            at_unix_ns=at_ns,
            count=count,
            least=least,
            greatest=greatest,
        )
        for name, value, step, at_ns, count, least, greatest in reader.rows(
            METRICS, (list(process_ids),)
        )
    ]
