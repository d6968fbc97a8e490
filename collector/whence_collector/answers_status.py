"""The answer to Status: how the collector and its daemons are. Reads only."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from whence_collector.answer_rows import given
from whence_collector.canaries import arrived, trouble
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.store import Reader, Store

COUNTED = (
    "process",
    "process_end",
    "access",
    "name_change",
    "version_digest",
    "artifact",
    "path",
    "file_version",
    "run",
    "run_dependency",
)
DAEMONS = """
SELECT d.host_id, h.name, d.daemon_version, d.kernel, d.back_end, d.capabilities,
    d.missing_capabilities,
    (SELECT max(l.committed_ns) FROM batch_ledger l JOIN boot b USING (boot_id)
        WHERE b.host_id = d.host_id),
    (SELECT coalesce(sum(x.lost), 0)::BIGINT FROM loss x JOIN boot b USING (boot_id)
        WHERE b.host_id = d.host_id)
FROM daemon d JOIN host h USING (host_id) ORDER BY h.name
"""


UNOBSERVED = """
SELECT host_id, from_ns, until_ns, reason FROM unobserved
QUALIFY row_number() OVER (PARTITION BY host_id ORDER BY until_ns DESC) <= 5
ORDER BY until_ns DESC
"""


def status(
    reader: Reader,
    store: Store,
    version: str,
    is_connected: Callable[[int], bool],
    clock: Callable[[], int] = time.time_ns,
) -> wire.StatusReply:
    """Answer Status."""
    reply = wire.StatusReply(
        version=version,
        schema_version=store.schema_version,
        disk_free_bytes=shutil.disk_usage(store.database.parent).free,
        storage_error=store.storage_error,
    )
    for table in COUNTED:
        reply.rows[table] = reader.rows(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608 -- names are ours
    now_ns = clock()
    canaries = arrived(reader, now_ns)
    gaps = reader.rows(UNOBSERVED)
    for host_id, host, *described, last_ns, lost in reader.rows(DAEMONS):
        names = ("daemon_version", "kernel", "back_end", "capabilities", "missing_capabilities")
        connected, canary = is_connected(host_id), canaries.get(host_id)
        told = (last_ns, canary.at_ns if canary else None)
        wrong = trouble(canary, now_ns) if connected else None
        reply.daemons.add(
            host=host,
            connected=connected,
            lost=lost,
            unobserved=[
                wire.UnobservedTime(from_unix_ns=since, until_unix_ns=until, reason=reason)
                for each, since, until, reason in gaps
                if each == host_id
            ],
            **given(
                (*names, "last_batch_unix_ns", "canary_unix_ns", "canary_trouble"),
                (*described, *told, wrong),
            ),
        )
    return reply
