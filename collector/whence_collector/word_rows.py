"""What programs said of themselves, in dense ids. Pure, as rows.py is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.resolved import MetricRow, TagRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_proto.v1 import ingest_pb2 as wire


def tag_rows(
    batch: wire.Batch, process_ids: Sequence[int], texts: Sequence[str | None], zero_ns: int
) -> list[TagRow]:
    """Return tags; process_ids and texts are what the batch's indexes mean, 0 included."""
    tags = batch.job_tags
    return [
        TagRow(
            subject_kind="process",
            subject=str(process_ids[process]),
            process_id=process_ids[process],
            key=texts[tags.key_text[row]] or "",
            value=texts[tags.value_text[row]],
            removed=tags.removed[row],
            inherit=tags.inherit[row],
            who=texts[tags.user_text[row]] or f"uid {tags.uid[row]}",
            proven=True,
            at_ns=zero_ns + tags.at_ns[row],
        )
        for row, process in enumerate(tags.process)
    ]


def metric_rows(
    batch: wire.Batch, process_ids: Sequence[int], texts: Sequence[str | None], zero_ns: int
) -> list[MetricRow]:
    """Return measured numbers, as tag_rows does."""
    metrics = batch.job_metrics
    return [
        MetricRow(
            process_id=process_ids[process],
            name=texts[metrics.name_text[row]] or "",
            value=metrics.value[row],
            step=metrics.step[row] if metrics.has_step[row] else None,
            at_ns=zero_ns + metrics.at_ns[row],
        )
        for row, process in enumerate(metrics.process)
    ]
