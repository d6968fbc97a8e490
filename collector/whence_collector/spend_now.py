"""How it is now: GPUs with their holders and what they burn, and the runs that go on."""

from __future__ import annotations

from whence_collector.price_book import load_book
from whence_collector.store import Reader
from whence_proto.v1 import spend_pb2 as wire

MOST_RUNS = 50
FRESH_NS = 120 * 10**9  # a GPU that was not watched for longer is not shown as it was

_GPUS = """
WITH last AS (
    SELECT host_id, gpu_uuid, max(until_ns) AS until_ns,
        arg_max(busy_ns, until_ns) AS busy_ns,
        arg_max(until_ns - from_ns, until_ns) AS length_ns,
        arg_max(memory_used_bytes, until_ns) AS used_bytes
    FROM gpu_slice WHERE until_ns > ? GROUP BY host_id, gpu_uuid
)
SELECT h.name, d.gpu_uuid, d.model, d.nvml_index, l.busy_ns, l.length_ns, l.used_bytes,
    d.memory_bytes, l.until_ns, d.host_id
FROM gpu_device d
JOIN host h USING (host_id)
JOIN last l USING (host_id, gpu_uuid)
WHERE d.parent IS NULL AND (? = '' OR h.name = ?)
ORDER BY h.name, coalesce(d.nvml_index, d.minor), d.gpu_uuid
"""
_HOLDERS = """
SELECT g.host_id, g.gpu_uuid, r.run_id, r.command, r.user_name, r.project, min(g.start_ns),
    bool_and(g.kind = 3), any_value(p.tgid)
FROM gpu_hold g
LEFT JOIN process p ON p.process_id = g.process_id
LEFT JOIN process_run m ON m.process_id = g.process_id
LEFT JOIN run r ON r.run_id = m.run_id
WHERE g.end_ns IS NULL AND g.kind != 1
GROUP BY g.host_id, g.gpu_uuid, r.run_id, r.command, r.user_name, r.project
ORDER BY 7
"""
_RUNS = """
WITH live AS (
    SELECT * FROM run WHERE status = 'running' AND kind NOT IN ('canary', 'session')
    ORDER BY started_ns DESC LIMIT ?
),
alive AS (
    SELECT p.run_id, count(*) AS programs FROM process_run p
    JOIN live USING (run_id)
    LEFT JOIN process_end e USING (process_id)
    WHERE e.process_id IS NULL GROUP BY p.run_id
),
touched AS (
    SELECT p.run_id,
        count(DISTINCT a.path_id) FILTER (a.op IN (1, 4)) AS files_read,
        count(DISTINCT a.path_id) FILTER (a.op IN (2, 5)) AS files_written
    FROM access a JOIN process_run p USING (process_id) JOIN live USING (run_id)
    WHERE a.last_unix_ns >= (SELECT min(started_ns) FROM live) GROUP BY p.run_id
)
SELECT r.run_id, r.command, r.user_name, r.project, h.name, r.started_ns,
    coalesce(a.programs, 0), coalesce(t.files_read, 0), coalesce(t.files_written, 0)
FROM live r JOIN host h USING (host_id)
LEFT JOIN alive a USING (run_id)
LEFT JOIN touched t USING (run_id)
WHERE ? = '' OR h.name = ?
ORDER BY r.started_ns DESC
"""


def show_now(reader: Reader, asked: wire.ShowNowRequest, now_ns: int) -> wire.ShowNowResponse:
    """Return GPUs, holders and running runs."""
    book, _ = load_book(reader)
    holders: dict[tuple[int, str], list[wire.HolderNow]] = {}
    for row in reader.rows(_HOLDERS):
        holders.setdefault((row[0], row[1]), []).append(
            wire.HolderNow(
                run_id=row[2] or "",
                command=row[3] or "",
                user=row[4] or "",
                project=row[5] or "",
                since_unix_ns=row[6],
                orphaned=row[7],
                pid=row[8] or 0,
            )
        )
    answer = wire.ShowNowResponse()
    for row in reader.rows(_GPUS, (now_ns - FRESH_NS, asked.host, asked.host)):
        price = book.price_at(row[2] or "", row[0], now_ns)
        hourly = -1 if price is None else price.nano_usd_per_gpu_hour // 1000
        held = holders.get((row[9], row[1]), [])
        busy = -1 if row[4] is None or not row[5] else round(100 * row[4] / row[5])
        answer.gpus.add(
            host=row[0],
            gpu_uuid=row[1],
            model=row[2] or "",
            nvml_index=-1 if row[3] is None else row[3],
            busy_percent=busy,
            memory_used_bytes=-1 if row[6] is None else row[6],
            memory_bytes=-1 if row[7] is None else row[7],
            micro_usd_per_hour=hourly,
            holders=held,
            watched_unix_ns=row[8],
        )
        if held and hourly > 0:
            answer.burn_micro_usd_per_hour += hourly
    names = (
        "run_id", "command", "user", "project", "host", "started_unix_ns", "processes",
        "files_read", "files_written",
    )  # fmt: skip
    for run in reader.rows(_RUNS, (MOST_RUNS, asked.host, asked.host)):
        known = {name: value for name, value in zip(names, run, strict=True) if value is not None}
        answer.runs.add(**known)
    return answer
